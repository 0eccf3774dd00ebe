"""Names of EG3D's official generator and ours: a state dict to a parameter tree."""

import re
from collections.abc import Collection, Mapping

import numpy as np

from jax3dgan.errors import UserError

# Size of the first super-resolution block's images: the size that its input has (the release's
# 2X, 4X and 8X).
_SUPER_INPUT = {64: 64, 128: 128, 256: 128}


def model_fields(state: dict[str, np.ndarray]) -> dict:
  """Returns the fields of `generators.eg3d.EG3D` that follow from the shapes of a state dict.

  Raises:
    UserError: It is no generator of EG3D, or has a super-resolution that the release does not have.
  """
  embed = state.get('backbone.mapping.embed.weight')
  first, decoder = state.get('backbone.mapping.fc0.weight'), state.get('decoder.net.0.weight')
  blocks = numbers(state, r'backbone\.synthesis\.b(\d+)\.torgb\.weight')
  if first is None or decoder is None or blocks != [4 << i for i in range(len(blocks))]:
    raise UserError(
      "These weights are not those of EG3D's generator: its mapping network, decoder or blocks are "
      'missing. Convert the file with the release that it is from.'
    )
  w_dim, label_dim = len(first), 0 if embed is None else embed.shape[1]
  shapes = [state[f'backbone.synthesis.b{n}.torgb.weight'].shape for n in blocks]
  fields = dict(
    z_dim=first.shape[1] - (len(embed) if embed is not None else 0),
    w_dim=w_dim,
    mapping_layers=len(numbers(state, r'backbone\.mapping\.fc(\d+)\.weight')),
    label_dim=label_dim,
    channels=tuple(shape[1] for shape in shapes),
    plane_features=shapes[0][0] // 3,
    decoder_hidden=len(decoder),
    use_noise='backbone.synthesis.b4.conv1.noise_strength' in state,
    super_channels=(),
    super_ups=(),
  )
  supers = numbers(state, r'superresolution\.block(\d+)\.torgb\.weight')
  if supers:
    names = [f'superresolution.block{i}' for i in supers]
    sizes = [len(state[f'{name}.conv1.noise_const']) for name in names]
    if sizes[0] not in _SUPER_INPUT:
      raise UserError(
        f'A super-resolution that starts at {sizes[0]}² is none of the release, which has 64², '
        '128² and 256². Give a file of the release.'
      )
    steps = [_SUPER_INPUT[sizes[0]], *sizes]
    fields.update(
      super_channels=tuple(state[f'{name}.torgb.weight'].shape[1] for name in names),
      super_ups=tuple(b // a for a, b in zip(steps, steps[1:], strict=False)),
      super_input=steps[0],
    )
  return fields


def numbers(state, pattern: str) -> list[int]:
  """The numbers, ascending, in names that match a pattern with one group."""
  return sorted(int(match[1]) for name in state if (match := re.fullmatch(pattern, name)))


def generator_params(state: dict[str, np.ndarray]) -> dict:
  """Returns the parameters of `generators.eg3d.EG3D` from the official names and layouts.

  Args:
    state: The state dict of a TriPlaneGenerator: PyTorch's layouts, [out, in, k, k] and [out, in].

  Raises:
    UserError: A name that is none of the generator's, or as in `model_fields`.
  """
  ups = model_fields(state)['super_ups']
  return backbone_params(
    state, {('superresolution', f'block{i}', 'conv0') for i, up in enumerate(ups) if up > 1}
  )


def backbone_params(state: Mapping[str, np.ndarray], turned: Collection = ()) -> dict:
  """`generator_params` of weights that may be those of mapping and synthesis network alone.

  Args:
    turned: Paths of layers of a super-resolution whose kernels are stored turned by 180°.
  """
  params, noise = {}, {}
  for name, value in state.items():
    value = np.asarray(value, np.float32)
    if name.endswith('.resample_filter') or name == 'dataset_label_std':
      continue
    if match := re.fullmatch(r'backbone\.synthesis\.b(\d+)\.(conv[01])\.noise_const', name):
      noise[int(match[1]), match[2]] = value
      continue
    if name.endswith('.noise_const'):
      continue  # of the super-resolution, whose noise is never used
    path, leaf = place(name, value, turned)
    here = params
    for folder in path[:-1]:
      here = here.setdefault(folder, {})
    here[path[-1]] = leaf
  parts = [noise[key].ravel() for key in sorted(noise)]
  if parts:
    params['noise_const'] = np.concatenate(parts)
  return params


def place(name: str, value: np.ndarray, turned: Collection) -> tuple[list[str], np.ndarray]:
  """The path of a parameter, and its layout."""
  if name == 'backbone.mapping.w_avg':
    return ['w_average'], value
  if match := re.fullmatch(r'backbone\.mapping\.(embed|fc(\d+))\.(weight|bias)', name):
    layer = 'embed' if match[1] == 'embed' else f'fc_{match[2]}'
    return ['mapping', layer, *_dense(match[3])], value.T
  if match := re.fullmatch(r'decoder\.net\.([02])\.(weight|bias)', name):
    layer = int(match[1]) // 2
    return ['decoder', f'fc_{layer}_{_dense(match[2])[0]}'], value.T
  if match := re.fullmatch(
    r'(backbone\.synthesis\.b\d+|superresolution\.block\d+)\.(const|conv[01]\..+|torgb\..+)', name
  ):
    network, block = match[1].rsplit('.', 1)
    top = 'backbone' if network == 'backbone.synthesis' else 'superresolution'
    return _block([top, block], match[2], value, turned)
  raise UserError(f"'{name}' is no parameter of EG3D's generator. Give a file of the release.")


def _dense(kind: str) -> list[str]:
  return ['kernel' if kind == 'weight' else 'bias']


def _block(
  path: list[str], name: str, value: np.ndarray, turned: set
) -> tuple[list[str], np.ndarray]:
  if name == 'const':
    return [*path, 'const'], value.transpose(1, 2, 0)
  layer, _, rest = name.partition('.')
  path = [*path, layer]
  if rest in ('affine.weight', 'affine.bias'):
    return [*path, 'conv', 'affine', *_dense(rest.removeprefix('affine.'))], value.T
  if rest == 'weight':
    up = path[0] == 'backbone' and layer == 'conv0' or tuple(path) in turned
    return [*path, 'conv', 'kernel'], _kernel(value, up)
  if rest in ('bias', 'noise_strength'):
    return [*path, rest], value
  raise UserError(
    f"'{'.'.join(path)}.{rest}' is no parameter of EG3D's generator. Give a file of the release."
  )


def _kernel(value: np.ndarray, turned: bool) -> np.ndarray:
  """[out, in, k, k] → [k, k, in, out]; kernels of up-sampling layers are stored turned by 180°."""
  value = value.transpose(2, 3, 1, 0)
  return value[::-1, ::-1] if turned else value


# The inverse.


def generator_state(params: dict, super_ups) -> dict[str, np.ndarray]:
  """Returns the official names and layouts of `generators.eg3d.EG3D`'s parameters.

  The inverse of `generator_params`, except for what it omits: constants (`resample_filter`), and
  the noise of the super-resolution, which is never used.

  Args:
    params: a tree of parameters.
    super_ups: the field of that name.
  """
  turned = {('superresolution', f'block{i}', 'conv0') for i, up in enumerate(super_ups) if up > 1}
  state, sizes = {}, set()
  for path, leaf in leaves(params):
    leaf = np.asarray(leaf)
    if path == ('noise_const',):
      continue
    name, value = official(path, leaf, turned)
    state[name] = np.array(value, order='C')
    if path[0] == 'backbone' and path[-1] == 'noise_strength':
      sizes.add((int(path[1][1:]), path[2]))
  flat = np.asarray(params.get('noise_const', ()))
  for size, layer in sorted(sizes):
    state[f'backbone.synthesis.b{size}.{layer}.noise_const'] = flat[: size**2].reshape(size, size)
    flat = flat[size**2 :]
  return state


def leaves(tree, path=()):
  """(path, leaf) of a tree of dicts."""
  for key, value in tree.items():
    if hasattr(value, 'items'):
      yield from leaves(value, (*path, key))
    else:
      yield (*path, key), value


def official(path: tuple[str, ...], leaf: np.ndarray, turned: Collection) -> tuple[str, np.ndarray]:
  """A parameter's official name and layout."""
  kind = 'weight' if path[-1].endswith('kernel') else path[-1].rpartition('_')[2]
  if path[0] == 'w_average':
    return 'backbone.mapping.w_avg', leaf
  if path[0] == 'mapping':
    return f'backbone.mapping.{path[1].replace("_", "")}.{kind}', leaf.T
  if path[0] == 'decoder':
    return f'decoder.net.{2 * int(path[1].split("_")[1])}.{kind}', leaf.T
  network = 'backbone.synthesis' if path[0] == 'backbone' else path[0]
  block = f'{network}.{path[1]}'
  if path[2] == 'const':
    return f'{block}.const', leaf.transpose(2, 0, 1)
  layer = f'{block}.{path[2]}'
  if path[-2] == 'affine':
    return f'{layer}.affine.{kind}', leaf.T
  if path[-1] == 'kernel':
    up = path[0] == 'backbone' and path[2] == 'conv0' or path[:3] in turned
    leaf = leaf[::-1, ::-1] if up else leaf
    return f'{layer}.weight', leaf.transpose(3, 2, 0, 1)
  return f'{layer}.{path[-1]}', leaf
