"""The convolutions of the FID Inception: their shapes, and their names in TensorFlow's graph (with
'_' for '/') and in pytorch-fid's state dict.

The figures are those of Szegedy et al. 2015, arXiv 1512.00567.
"""

from typing import NamedTuple

# The last block that each length of features needs.
LAST_BLOCK = {768: 'mixed_7', 2048: 'mixed_10'}


class Layer(NamedTuple):
  """One convolution: kernel [height, width, c_in, features]; 'SAME' padding where `same`."""

  height: int
  width: int
  c_in: int
  features: int
  stride: int = 1
  same: bool = True

  @property
  def shape(self) -> tuple[int, int, int, int]:
    return self[:4]


def _block_35(c, pool):
  """35²: Mixed_5b to Mixed_5d of figure 5."""
  return {
    'conv': Layer(1, 1, c, 64),
    'tower_conv': Layer(1, 1, c, 48),
    'tower_conv_1': Layer(5, 5, 48, 64),
    'tower_1_conv': Layer(1, 1, c, 64),
    'tower_1_conv_1': Layer(3, 3, 64, 96),
    'tower_1_conv_2': Layer(3, 3, 96, 96),
    'tower_2_conv': Layer(1, 1, c, pool),
  }


def _block_17(n):
  """17²: Mixed_6b to Mixed_6e of figure 6, n channels between the 1 × 7 and 7 × 1 kernels."""
  return {
    'conv': Layer(1, 1, 768, 192),
    'tower_conv': Layer(1, 1, 768, n),
    'tower_conv_1': Layer(1, 7, n, n),
    'tower_conv_2': Layer(7, 1, n, 192),
    'tower_1_conv': Layer(1, 1, 768, n),
    'tower_1_conv_1': Layer(7, 1, n, n),
    'tower_1_conv_2': Layer(1, 7, n, n),
    'tower_1_conv_3': Layer(7, 1, n, n),
    'tower_1_conv_4': Layer(1, 7, n, 192),
    'tower_2_conv': Layer(1, 1, 768, 192),
  }


def _block_8(c):
  """8²: Mixed_7b and Mixed_7c of figure 7."""
  return {
    'conv': Layer(1, 1, c, 320),
    'tower_conv': Layer(1, 1, c, 384),
    'tower_mixed_conv': Layer(1, 3, 384, 384),
    'tower_mixed_conv_1': Layer(3, 1, 384, 384),
    'tower_1_conv': Layer(1, 1, c, 448),
    'tower_1_conv_1': Layer(3, 3, 448, 384),
    'tower_1_mixed_conv': Layer(1, 3, 384, 384),
    'tower_1_mixed_conv_1': Layer(3, 1, 384, 384),
    'tower_2_conv': Layer(1, 1, c, 192),
  }


BLOCKS = {
  'mixed': _block_35(192, 32),
  'mixed_1': _block_35(256, 64),
  'mixed_2': _block_35(288, 64),
  'mixed_3': {
    'conv': Layer(3, 3, 288, 384, stride=2, same=False),
    'tower_conv': Layer(1, 1, 288, 64),
    'tower_conv_1': Layer(3, 3, 64, 96),
    'tower_conv_2': Layer(3, 3, 96, 96, stride=2, same=False),
  },
  'mixed_4': _block_17(128),
  'mixed_5': _block_17(160),
  'mixed_6': _block_17(160),
  'mixed_7': _block_17(192),
  'mixed_8': {
    'tower_conv': Layer(1, 1, 768, 192),
    'tower_conv_1': Layer(3, 3, 192, 320, stride=2, same=False),
    'tower_1_conv': Layer(1, 1, 768, 192),
    'tower_1_conv_1': Layer(1, 7, 192, 192),
    'tower_1_conv_2': Layer(7, 1, 192, 192),
    'tower_1_conv_3': Layer(3, 3, 192, 192, stride=2, same=False),
  },
  'mixed_9': _block_8(1280),
  'mixed_10': _block_8(2048),
}
_STEM = {
  'conv': Layer(3, 3, 3, 32, stride=2, same=False),
  'conv_1': Layer(3, 3, 32, 32, same=False),
  'conv_2': Layer(3, 3, 32, 64),
  'conv_3': Layer(1, 1, 64, 80, same=False),
  'conv_4': Layer(3, 3, 80, 192, same=False),
}


def blocks(dims: int) -> list[str]:
  """Names of the blocks behind the stem that features of this length need, in their order."""
  names = list(BLOCKS)
  return names[: names.index(LAST_BLOCK[dims]) + 1]


def layers(dims: int) -> dict[str, Layer]:
  """All convolutions of the network up to features of this length (768 or 2048), by name."""
  found = dict(_STEM)
  for block in blocks(dims):
    found |= {f'{block}_{name}': layer for name, layer in BLOCKS[block].items()}
  return found


_TORCH_STEM = {
  'conv': 'Conv2d_1a_3x3',
  'conv_1': 'Conv2d_2a_3x3',
  'conv_2': 'Conv2d_2b_3x3',
  'conv_3': 'Conv2d_3b_1x1',
  'conv_4': 'Conv2d_4a_3x3',
}
_BRANCHES_35 = {
  'conv': 'branch1x1',
  'tower_conv': 'branch5x5_1',
  'tower_conv_1': 'branch5x5_2',
  'tower_1_conv': 'branch3x3dbl_1',
  'tower_1_conv_1': 'branch3x3dbl_2',
  'tower_1_conv_2': 'branch3x3dbl_3',
  'tower_2_conv': 'branch_pool',
}
_BRANCHES_17 = {
  'conv': 'branch1x1',
  'tower_conv': 'branch7x7_1',
  'tower_conv_1': 'branch7x7_2',
  'tower_conv_2': 'branch7x7_3',
  'tower_1_conv': 'branch7x7dbl_1',
  'tower_1_conv_1': 'branch7x7dbl_2',
  'tower_1_conv_2': 'branch7x7dbl_3',
  'tower_1_conv_3': 'branch7x7dbl_4',
  'tower_1_conv_4': 'branch7x7dbl_5',
  'tower_2_conv': 'branch_pool',
}
_BRANCHES_8 = {
  'conv': 'branch1x1',
  'tower_conv': 'branch3x3_1',
  'tower_mixed_conv': 'branch3x3_2a',
  'tower_mixed_conv_1': 'branch3x3_2b',
  'tower_1_conv': 'branch3x3dbl_1',
  'tower_1_conv_1': 'branch3x3dbl_2',
  'tower_1_mixed_conv': 'branch3x3dbl_3a',
  'tower_1_mixed_conv_1': 'branch3x3dbl_3b',
  'tower_2_conv': 'branch_pool',
}
_BRANCHES_TO_17 = {
  'conv': 'branch3x3',
  'tower_conv': 'branch3x3dbl_1',
  'tower_conv_1': 'branch3x3dbl_2',
  'tower_conv_2': 'branch3x3dbl_3',
}
_BRANCHES_TO_8 = {
  'tower_conv': 'branch3x3_1',
  'tower_conv_1': 'branch3x3_2',
  'tower_1_conv': 'branch7x7x3_1',
  'tower_1_conv_1': 'branch7x7x3_2',
  'tower_1_conv_2': 'branch7x7x3_3',
  'tower_1_conv_3': 'branch7x7x3_4',
}
# TensorFlow's block: PyTorch's block, and its branches.
_TORCH_BLOCKS = {
  'mixed': ('Mixed_5b', _BRANCHES_35),
  'mixed_1': ('Mixed_5c', _BRANCHES_35),
  'mixed_2': ('Mixed_5d', _BRANCHES_35),
  'mixed_3': ('Mixed_6a', _BRANCHES_TO_17),
  'mixed_4': ('Mixed_6b', _BRANCHES_17),
  'mixed_5': ('Mixed_6c', _BRANCHES_17),
  'mixed_6': ('Mixed_6d', _BRANCHES_17),
  'mixed_7': ('Mixed_6e', _BRANCHES_17),
  'mixed_8': ('Mixed_7a', _BRANCHES_TO_8),
  'mixed_9': ('Mixed_7b', _BRANCHES_8),
  'mixed_10': ('Mixed_7c', _BRANCHES_8),
}
# Every convolution: its name in TensorFlow's graph ('_' for '/') and in pytorch-fid's state dict.
TORCH_NAMES = _TORCH_STEM | {
  f'{block}_{name}': f'{torch_block}.{branch}'
  for block, (torch_block, branches) in _TORCH_BLOCKS.items()
  for name, branch in branches.items()
}
