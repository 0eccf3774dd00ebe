"""Makes tests/data/convert with PyTorch: `python -m tests.convert.make_fixtures`.

Small modules under the names of π-GAN's release, with nothing in them but what a checkpoint shows:
names, shapes, attributes. The tests need the files and not this program.
"""

import pathlib
import pickle
import sys
import types
import warnings
from unittest import mock

import numpy as np
import torch
from torch import nn

FOLDER = pathlib.Path(__file__).resolve().parent.parent / 'data' / 'convert'
HIDDEN, Z_DIM, WIDE, NUM_LAYERS = 8, 4, 8, 8
CHANNELS = (4, 6, 6)
# What old files carry beside their classes; whoever runs it leaves a trace.
SOURCE = "open('CANARY', 'w').write('run')\nraise SystemExit\n"


def under(module: str):
  """Makes the class below one of `module`, as the release's file of that name has it."""

  def make(cls):
    for name in (module.partition('.')[0], module):
      sys.modules.setdefault(name, types.ModuleType(name))
    cls.__module__, cls.__qualname__ = module, cls.__name__
    setattr(sys.modules[module], cls.__name__, cls)
    return cls

  return make


@under('siren.siren')
class FiLMLayer(nn.Module):
  def __init__(self, fan_in, width):
    super().__init__()
    self.layer = nn.Linear(fan_in, width)


@under('siren.siren')
class CustomMappingNetwork(nn.Module):
  def __init__(self):
    super().__init__()
    layers = [nn.Linear(Z_DIM, WIDE)]
    for width in (WIDE, WIDE, (NUM_LAYERS + 1) * HIDDEN * 2):
      layers += [nn.LeakyReLU(0.2, inplace=True), nn.Linear(WIDE, width)]
    self.network = nn.Sequential(*layers)


@under('siren.siren')
class UniformBoxWarp(nn.Module):
  def __init__(self, side):
    super().__init__()
    self.scale_factor = 2 / side


class _Siren(nn.Module):
  def __init__(self):
    super().__init__()
    self.device, self.input_dim, self.z_dim, self.hidden_dim = 'cuda', 2, Z_DIM, HIDDEN
    widths = [3] + [HIDDEN] * NUM_LAYERS
    self.network = nn.ModuleList(FiLMLayer(n, HIDDEN) for n in widths[:-1])
    self.final_layer = nn.Linear(HIDDEN, 1)
    self.color_layer_sine = FiLMLayer(HIDDEN + 3, HIDDEN)
    self.color_layer_linear = nn.Sequential(nn.Linear(HIDDEN, 3), nn.Sigmoid())
    self.mapping_network = CustomMappingNetwork()


@under('siren.siren')
class SPATIALSIRENBASELINE(_Siren):
  def __init__(self):
    super().__init__()
    self.gridwarper = UniformBoxWarp(0.24)


@under('siren.siren')
class TALLSIREN(_Siren):
  pass


@under('generators.generators')
class ImplicitGenerator3d(nn.Module):
  def __init__(self, siren, step):
    super().__init__()
    self.z_dim, self.siren, self.epoch, self.step = Z_DIM, siren, 3, step
    self.device = torch.device('cuda:0')
    self.avg_frequencies = torch.zeros(1, (NUM_LAYERS + 1) * HIDDEN)


@under('torch_ema.ema')
class ExponentialMovingAverage:
  def __init__(self, parameters, decay):
    self.decay, self.num_updates = decay, 1234
    self.shadow_params = [0.5 * parameter.clone().detach() for parameter in parameters]
    self.collected_params = []


@under('discriminators.discriminators')
class CoordConv(nn.Module):
  def __init__(self, fan_in, width, stride):
    super().__init__()
    self.conv = nn.Conv2d(fan_in + 2, width, 3, stride, 1)


@under('discriminators.discriminators')
class AdapterBlock(nn.Module):
  def __init__(self, width):
    super().__init__()
    self.model = nn.Sequential(nn.Conv2d(3, width, 1), nn.LeakyReLU(0.2))


@under('discriminators.discriminators')
class ResidualCCBlock(nn.Module):
  def __init__(self, fan_in, width):
    super().__init__()
    self.network = nn.Sequential(
      CoordConv(fan_in, width, 1), nn.LeakyReLU(0.2), CoordConv(width, width, 2), nn.LeakyReLU(0.2)
    )
    self.proj = nn.Conv2d(fan_in, width, 1, 2)


@under('discriminators.discriminators')
class CCSEncoderDiscriminator(nn.Module):
  def __init__(self):
    super().__init__()
    self.epoch, self.step = 3, 1234
    pairs = zip(CHANNELS, CHANNELS[1:], strict=False)
    self.layers = nn.ModuleList(ResidualCCBlock(a, b) for a, b in pairs)
    self.fromRGB = nn.ModuleList(AdapterBlock(width) for width in CHANNELS)
    self.final_layer = nn.Conv2d(CHANNELS[-1], 1 + Z_DIM + 2, 2)
    self.img_size_to_layer = {8: 0, 4: 1, 2: 2}


@under('torch_utils.persistence')
def _reconstruct_persistent_obj(meta):
  raise AssertionError('never called while writing')


@under('dnnlib.util')
class EasyDict(dict):
  pass


class _Persistent:
  """Pickled with the source of its class, which the original hook runs when it is loaded."""

  def __init__(self, **state):
    self.state = state

  def __reduce__(self):
    meta = EasyDict(
      type='class', version=6, module_src=SOURCE, class_name='Generator', state=self.state
    )
    return _reconstruct_persistent_obj, (meta,)


def main():
  """Writes the files."""
  torch.manual_seed(0)
  FOLDER.mkdir(parents=True, exist_ok=True)
  spatial = ImplicitGenerator3d(SPATIALSIRENBASELINE(), 1234)
  tall = ImplicitGenerator3d(TALLSIREN(), 60_000)
  tall.load_state_dict(spatial.state_dict())
  ema = ExponentialMovingAverage(spatial.parameters(), 0.999)
  discriminator = CCSEncoderDiscriminator()
  weights = spatial.state_dict()

  def save(value, name, **options):
    torch.save(value, FOLDER / name, **options)

  old = dict(_use_new_zipfile_serialization=False)
  save(spatial, 'generator.pth')
  # Old files hold the source of each class; PyTorch's own is not wanted here.
  source = mock.patch(
    'torch.serialization.get_source_lines_and_file', lambda cls: ([SOURCE], 0, 'siren.py')
  )
  with source:
    save(tall, 'generator_tall_legacy.pth', **old)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # no GPU
    save(nn.DataParallel(spatial), 'generator_parallel.pth')
  save(weights, 'state_dict.pth')
  save({k: v.bfloat16() for k, v in weights.items()}, 'state_dict_bfloat16_legacy.pth', **old)
  save({k: v.half() for k, v in weights.items()}, 'state_dict_half.pth')
  save(ema, 'ema.pth')
  averages = {**vars(ema), 'decay': 0.9999}
  save(averages, 'ema_state.pth', pickle_protocol=4)
  save(discriminator, 'discriminator.pth')
  save(
    {
      'expanded': torch.arange(3.0).expand(2, 3),
      'transposed': torch.arange(6).reshape(2, 3).T,
      'part': torch.arange(10, dtype=torch.int16)[2:8:3],
      'scalar': torch.tensor(2.5, dtype=torch.float64),
      'empty': torch.zeros(0, 3),
      'bool': torch.tensor([True, False]),
      'bytes': torch.tensor([1, 255], dtype=torch.uint8),
      'complex': torch.tensor([1 + 2j]),
    },
    'views.pth',
  )
  plain = {
    'G_ema': _Persistent(
      _parameters={'weight': nn.Parameter(torch.arange(4.0))},
      _buffers={'w_avg': torch.ones(2)},
      _modules={'inner': _Persistent(_parameters={'bias': torch.full((1,), 7.0)})},
      neural_rendering_resolution=64,
    ),
    'training_set_kwargs': EasyDict(path='cats.zip'),
  }
  (FOLDER / 'persistent.pkl').write_bytes(pickle.dumps(plain))
  arrays = {f'generator/{k}': v.numpy() for k, v in weights.items()}
  arrays |= {
    f'ema/{name}': value.numpy()
    for (name, _), value in zip(spatial.named_parameters(), ema.shadow_params, strict=True)
  }
  arrays |= {f'discriminator/{k}': v.numpy() for k, v in discriminator.state_dict().items()}
  np.savez_compressed(FOLDER / 'expected.npz', **arrays)


if __name__ == '__main__':
  main()
