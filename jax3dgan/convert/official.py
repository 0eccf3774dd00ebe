"""π-GAN's official generators: which model a file holds, inferred from names and shapes."""

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np

from jax3dgan import convert
from jax3dgan.convert import modules, persistent, pigan, wrapped
from jax3dgan.convert.tensors import Tensor
from jax3dgan.convert.values import Inert, Object, show
from jax3dgan.errors import UserError

FIELDS = {'spatial': 2 / 0.24, 'tall': 1.0}  # factors on the points, see `fields.siren.FilmSiren`
_EMBEDDED = ('EmbeddingPiGAN128', 'EmbeddingPiGAN256')
_FIELD_OF_CLASS = {
  'SPATIALSIRENBASELINE': 'spatial',
  'TALLSIREN': 'tall',
  **dict.fromkeys(_EMBEDDED, 'spatial'),
}
MAX_WEIGHTS = 500  # layers that take no time to compile; the release's models have up to 70
# How the names of a model's weights begin.
_BEGINNINGS = {'generator': ('siren.', 'network.'), 'discriminator': ('fromRGB.',)}


@dataclasses.dataclass
class Generator:
  """An official generator.

  Attributes:
    model: fields of `config.model`, as far as they follow from the weights.
    weights: float32 by official names.
    step: of its training; None where the file says nothing.
    class_name: of its field; '' where the file says nothing.
  """

  model: dict[str, Any]
  weights: dict[str, np.ndarray]
  step: int | None
  class_name: str

  @property
  def names(self) -> list[tuple[pigan.Path, str]]:
    """See `pigan.names`."""
    return _names(self.model)

  def params(self, weights=None) -> dict:
    """Our parameters, from its weights or from others of the same names."""
    return pigan.from_official(self.weights if weights is None else weights, self.names)


@dataclasses.dataclass
class Average:
  """An exponential moving average of a generator's weights: decay, number of updates, weights."""

  rate: float
  num_updates: int | None
  weights: dict[str, np.ndarray]


def read_generator(path, field: str | None = None, entry: str | None = None) -> Generator:
  """Reads a whole `ImplicitGenerator3d` or a state dict of one, also inside of a training state.

  Args:
    path: The file.
    field: 'spatial' or 'tall', where the file does not say it.
    entry: The generator's name in a training state, where several are there.

  Raises:
    UserError: It is not a generator, or its field is not known.
  """
  read = read_model(path, 'generator', entry)
  weights, attributes = read.weights, read.attributes
  if not any(key.startswith('siren.') for key in weights) and 'network.0.layer.weight' in weights:
    weights = {f'siren.{key}': value for key, value in weights.items()}
  model = _sizes(path, weights)
  class_name = _siren_class(attributes)
  model['input_scale'] = FIELDS[_field(path, class_name, pigan.EMBEDDING in weights, field)]
  z_dim = attributes.get('z_dim')
  if z_dim is not None and z_dim != model['z_dim']:
    raise UserError(
      f'{path} says z_dim {show(z_dim)}, but its mapping network takes {model["z_dim"]}: it is '
      'damaged. Download it again.'
    )
  return Generator(model, weights, _step(path, attributes), class_name)


def _field(path, class_name: str, embedded: bool, field: str | None) -> str:
  """The key of FIELDS, from the field's class, whether it has a grid of features, and --field."""
  known = _FIELD_OF_CLASS.get(class_name)
  if known and embedded != (class_name in _EMBEDDED):
    has = 'an' if embedded else 'no'
    raise UserError(
      f'{path} has the field {class_name} and {has} embedding grid: it is damaged. Download it '
      'again.'
    )
  if embedded:
    known = 'spatial'
  if known and field and known != field:
    what = f'the field {class_name}' if class_name else 'an embedding grid'
    raise UserError(f'{path} has {what}: leave out --field, or give {known}.')
  if not known and not field:
    what = f'has the field {show(class_name)}' if class_name else 'says nothing of its field'
    raise UserError(
      f'{path} {what}. Give --field=spatial (SPATIALSIRENBASELINE: CelebA, cats) or '
      '--field=tall (TALLSIREN: CARLA).'
    )
  return known or field


@dataclasses.dataclass
class _Model:
  """Weights by official names; attributes and class of the module, nothing for a state dict."""

  weights: dict[str, np.ndarray]
  attributes: dict
  class_name: str


def read_model(path, role: str, entry: str | None = None) -> _Model:
  """A whole module or a state dict; `entry` and `role` choose it from a training state."""
  tree = convert.read(path)
  if any(map(is_eg3d, (tree, *wrapped.parts(tree).values()))) or persistent.is_persistent(tree):
    raise UserError(
      f"{path} is a checkpoint of StyleGAN's kind, as EG3D's are: convert it with --from=eg3d."
    )
  beginnings = _BEGINNINGS[role]
  chosen = wrapped.choose(
    path,
    tree,
    entry,
    lambda part: any(name.startswith(beginnings) for name in wrapped.names_of(part)),
    f'{role} of π-GAN',
  )
  if wrapped.is_average(chosen):
    raise UserError(f'{path} is an average of weights: give it as --ema, and a {role} here.')
  chosen = wrapped.unwrapped(chosen)
  try:
    weights = modules.state_dict(chosen)
  except UserError as error:
    raise UserError(f'{path}: {error}') from None
  if len(weights) > MAX_WEIGHTS:
    raise UserError(f'{path} has {len(weights):,} weights. Give a file of the release.')
  weights = wrapped.plain_names(weights)
  weights = {key: float32(path, key, value) for key, value in weights.items()}
  attributes, class_name = {}, ''
  if isinstance(chosen, Object):
    attributes, class_name = chosen.attributes(), chosen.cls.name
  step = wrapped.step_of(tree)
  return _Model(weights, attributes if step is None else {'step': step, **attributes}, class_name)


def is_eg3d(value) -> bool:
  """Whether it is a generator of EG3D, or a checkpoint with networks of StyleGAN's kind."""
  if persistent.is_checkpoint(value):
    return any(persistent.is_persistent(part) for part in value.values())
  return any(name.startswith('backbone.') for name in wrapped.names_of(value))


def float32(path, key: str, value: np.ndarray) -> np.ndarray:
  """A weight as float32; UserError if it has integers or values that are not finite."""
  if not np.issubdtype(value.dtype, np.floating) and value.dtype != ml_dtypes.bfloat16:
    raise UserError(f'{path}: {key} is of the type {value.dtype}. Give a file with float weights.')
  with np.errstate(over='ignore', invalid='ignore'):
    value = np.asarray(value, np.float32)
    finite = np.isfinite(value).all()
  if not finite:
    raise UserError(
      f'{path}: {key} has values that are no finite numbers. Give an earlier checkpoint.'
    )
  return value


_FIRST_MAPPING = 'mapping_network.network.0.weight'


def _sizes(path, weights) -> dict[str, int]:
  """Sizes of the generator; all names and shapes are those of this generator."""
  num_layers = count_layers(weights, 'siren.network.{}.layer.weight')
  mapping = count_layers(weights, 'siren.mapping_network.network.{}.weight', 2)
  first = [weights.get(f'siren.{name}') for name in ('network.0.layer.weight', _FIRST_MAPPING)]
  if mapping < 2 or any(weight is None or weight.ndim != 2 or not weight.size for weight in first):
    hint = ' It looks like a discriminator.' if 'final_layer.weight' in weights else ''
    raise UserError(
      f'{path} has no siren.network and siren.mapping_network as a generator of π-GAN.{hint} '
      "Give the release's generator.pth."
    )
  model = {
    'z_dim': first[1].shape[1],
    'hidden_dim': first[0].shape[0],
    'num_layers': num_layers,
    'mapping_dim': first[1].shape[0],
    'mapping_layers': mapping - 1,
    **_embedding(path, weights),
  }
  compare_shapes(path, {key: value.shape for key, value in weights.items()}, _shapes(model))
  return model


def _embedding(path, weights) -> dict[str, int]:
  """Sizes of the grid of features, where there is one."""
  if pigan.EMBEDDING not in weights:
    return {}
  shape = weights[pigan.EMBEDDING].shape
  if len(shape) != 5 or shape[0] != 1 or not shape[1] or len({*shape[2:]}) > 1 or shape[2] < 2:
    raise UserError(
      f'{path}: {pigan.EMBEDDING} is of the shape {list(shape)} and no grid. Give a model with one '
      'of the shape [1, channels, side, side, side].'
    )
  return {'embedding_channels': shape[1], 'embedding_resolution': shape[2]}


def _names(model) -> list[tuple[pigan.Path, str]]:
  embedding = bool(model.get('embedding_channels'))
  return list(pigan.names(model['num_layers'], model['mapping_layers'], embedding))


def count_layers(weights, name: str, every: int = 1) -> int:
  num = 0
  while name.format(num * every) in weights:
    num += 1
  return num


def _shapes(model) -> dict[str, tuple[int, ...]]:
  """{official key: shape} of a generator with these sizes."""
  h, wide, n = model['hidden_dim'], model['mapping_dim'], model['num_layers']
  channels, side = model.get('embedding_channels', 0), model.get('embedding_resolution')
  fan_in = {'film_0': channels + 3, 'colour_film': 3 + h, 'hidden_0': model['z_dim'], 'out': wide}
  out = {'density': 1, 'colour': 3, 'out': (n + 1) * h * 2}
  shapes = {}
  for (part, *rest), key in _names(model):
    if key == pigan.EMBEDDING:
      shapes[key] = (1, channels, side, side, side)
      continue
    layer = rest[0] if part == 'mapping' else rest[0].rpartition('_')[0]
    width = h if part == 'field' else wide
    rows = out.get(layer, width)
    shapes[key] = (rows,) if key.endswith('.bias') else (rows, fan_in.get(layer, width))
  return shapes


def compare_shapes(
  path, found: dict, expected: dict, where: str = "π-GAN's model of these sizes"
) -> None:
  """Raises a UserError for the first difference of two {name: shape}; `where` names the second."""
  for key in sorted(found.keys() | expected.keys()):
    there, wanted = found.get(key), expected.get(key)
    if there != wanted:
      there, wanted = (
        'not there' if shape is None else f'of the shape {list(shape)}' for shape in (there, wanted)
      )
      raise UserError(
        f'{path}: {key} is {there}, but {wanted} in {where}. Give a file of the release.'
      )


def _siren_class(attributes) -> str:
  inner = attributes.get('_modules')
  siren = inner.get('siren') if isinstance(inner, dict) else None
  return siren.cls.name if isinstance(siren, Object) else ''


def _step(path, attributes) -> int | None:
  step = attributes.get('step')
  if step is None:
    return None
  if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < 2**31:
    raise UserError(f'{path} says step {show(step)}: it is damaged. Download it again.')
  return step


def read_average(path, generator: Generator) -> Average:
  """Reads a file of torch_ema's `ExponentialMovingAverage`, whole or its state dict.

  Raises:
    UserError: It is not an average, or of another generator.
  """
  tree = wrapped.choose(path, convert.read(path), None, wrapped.is_average, 'average of weights')
  if not wrapped.is_average(tree):
    what = repr(tree) if isinstance(tree, Inert) else show(tree)
    hint = "Give the release's ema.pth."
    if wrapped.is_state_dict(tree):
      hint = "Averaged weights by a generator's names go to --input; this is for torch_ema's."
    raise UserError(f'{path} is {what} and no average of weights. {hint}')
  state = tree.attributes() if isinstance(tree, Object) else tree
  rate, num_updates = state.get('decay'), state.get('num_updates')
  if not isinstance(rate, float) or not 0 < rate < 1:
    raise UserError(f'{path} says decay {show(rate)}: it is damaged. Download it again.')
  if isinstance(num_updates, bool) or not isinstance(num_updates, int):
    num_updates = None
  values, keys = state['shadow_params'], [key for _, key in generator.names]
  if len(values) != len(keys) or not all(isinstance(value, Tensor) for value in values):
    raise UserError(
      f'{path} holds {len(values)} averages and not the {len(keys)} of the generator. Give the '
      'ema.pth that is beside it.'
    )
  named = dict(zip(keys, values, strict=True))
  shapes = {key: generator.weights[key].shape for key in keys}
  compare_shapes(path, {key: value.shape for key, value in named.items()}, shapes)
  weights = {key: float32(path, key, value.numpy()) for key, value in named.items()}
  return Average(rate, num_updates, weights)
