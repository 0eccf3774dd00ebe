"""Directions in the space of styles: applying them, in some layers, and saving them."""

import dataclasses
import io
import json
import pathlib
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from jax3dgan import atomic, json_text
from jax3dgan.errors import UserError

NUM_STYLES = 2048  # latents of means and standard deviations: 1.6 % error of the latter


@dataclasses.dataclass(eq=False)
class Directions:
  """Directions that styles can be moved along.

  Attributes:
    names: k names.
    vectors: [k, ...] of unit length over all axes; [...] is the shape of one style.
    scales: [k] standard deviation of the styles of random latents (not truncated) along each: the
      unit of a strength.
    source: How they were found, as text.
    report: Figures of each: {name: {figure: number}}, such as held-out accuracy.
  """

  names: tuple[str, ...]
  vectors: np.ndarray
  scales: np.ndarray
  source: str = ''
  report: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    self.names = tuple(map(str, self.names))
    self.vectors = np.asarray(self.vectors, np.float32)
    self.scales = np.asarray(self.scales, np.float32)
    k = len(self.names)
    if self.vectors.ndim < 2 or len(self.vectors) != k or self.scales.shape != (k,):
      raise UserError(
        f'{k} names do not fit vectors {self.vectors.shape} and scales {self.scales.shape}. '
        'Give as many of each.'
      )
    if len(set(self.names)) < k:
      raise UserError(f'Two directions have one name: {", ".join(self.names)}. Rename one.')
    if not (np.isfinite(self.vectors).all() and np.isfinite(self.scales).all()):
      raise UserError('Some directions are not finite. Find them again.')

  def __len__(self) -> int:
    return len(self.names)

  def select(self, names: Sequence[str]) -> 'Directions':
    """Returns those of these names, in this order."""
    rows = [self._index(name) for name in names]
    report = {name: self.report[name] for name in names if name in self.report}
    return Directions(tuple(names), self.vectors[rows], self.scales[rows], self.source, report)

  def _index(self, name: str) -> int:
    if name not in self.names:
      raise UserError(f'No direction is called {name!r}. There are: {", ".join(self.names)}.')
    return self.names.index(name)

  def offset(
    self, strengths: Mapping[str, float], layers: tuple[int, int] | None = None
  ) -> np.ndarray:
    """Returns Σ strength · scale · vector, [...]: what `apply` adds."""
    shape = self.vectors.shape[1:]
    total = np.zeros(shape, np.float32)
    for name, strength in strengths.items():
      i = self._index(name)
      if not np.isfinite(strength):
        raise UserError(f'A strength of {strength} for {name!r} is not finite. Give a number.')
      total += np.float32(strength) * self.scales[i] * self.vectors[i]
    return total if layers is None else total * layer_mask(shape, layers)

  def apply(
    self, w, strengths: Mapping[str, float], layers: tuple[int, int] | None = None
  ) -> np.ndarray:
    """Moves styles.

    Args:
      w: [n, ...] styles of the model that the directions were found in.
      strengths: {name: standard deviations}; other directions are not used.
      layers: (first, last), both included: the only layers to change; None for all.

    Returns:
      float32 [n, ...]; exactly w where all strengths are 0.
    """
    w = np.asarray(w, np.float32)
    if w.shape[1:] != self.vectors.shape[1:]:
      raise UserError(
        f'Styles {w.shape} do not fit directions of styles {self.vectors.shape[1:]}: they are of '
        'another model. Find the directions again with this one.'
      )
    return w + self.offset(strengths, layers)

  def orthogonal(self, against: Sequence[str]) -> 'Directions':
    """Returns the other directions, made orthogonal to the named ones.

    InterFaceGAN's conditional manipulation (Shen et al., CVPR 2020, Sec. 3.3): to first order an
    edit along one then does not change the attributes of the named ones. The scales stay the same:
    a strength is a step of the same length as before.

    Raises:
      UserError: A direction that lies within the span of those named.
    """
    flat = self.vectors.reshape(len(self), -1).astype(np.float64)
    basis = np.linalg.qr(flat[[self._index(name) for name in against]].T)[0]
    vectors = flat.copy()
    for i, name in enumerate(self.names):
      if name in against:
        continue
      rest = flat[i] - basis @ (basis.T @ flat[i])
      length = np.linalg.norm(rest)
      if length < 1e-4:
        raise UserError(f'{name} is in the span of {", ".join(against)}. Leave one out.')
      vectors[i] = rest / length
    source = f'{self.source}, orthogonal to {", ".join(against)}'
    return Directions(
      self.names, vectors.reshape(self.vectors.shape), self.scales, source, self.report
    )

  def save(self, path) -> pathlib.Path:
    """Writes them atomically as an npz of plain arrays; the same bytes for the same directions."""
    path = pathlib.Path(path)
    if path.suffix.lower() != '.npz':
      raise UserError(f'{path} does not end in .npz. Directions are kept as npz files.')
    about = {'names': self.names, 'source': self.source, 'report': self.report}
    text = np.frombuffer(json_text.dumps(about, None).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path) as temporary:
      with zipfile.ZipFile(temporary, 'w', zipfile.ZIP_DEFLATED) as file:
        arrays = {'vectors': self.vectors, 'scales': self.scales, 'about': text}
        for name, array in arrays.items():
          member = io.BytesIO()
          np.save(member, array, allow_pickle=False)
          # A fixed date: the same directions give the same bytes.
          info = zipfile.ZipInfo(f'{name}.npy', (1980, 1, 1, 0, 0, 0))
          file.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED)
    return path

  @classmethod
  def load(cls, path) -> 'Directions':
    """Reads what `save` wrote. UserError if there is no such file, or it has other contents."""
    path = pathlib.Path(path)
    if not path.is_file():
      raise UserError(f'{path} is not a file. Give pca, sefa, or saved directions.')
    try:
      with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        about = json.loads(file['about'].tobytes().decode())
        vectors, scales = file['vectors'], file['scales']
        return cls(about['names'], vectors, scales, about['source'], about['report'])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
      raise UserError(
        f'{path} has no directions ({error}). Give a file that `jax3dgan edit --save` wrote.'
      ) from None


def layer_mask(shape: tuple[int, ...], layers: tuple[int, int]) -> np.ndarray:
  """Returns 1 for layers first to last of a style [l, ...], 0 for the others, [l, 1, ...]."""
  first, last = layers
  num = shape[0] if len(shape) > 1 else 0
  if not 0 <= first <= last < num:
    has = f'has layers 0-{num - 1}' if num else 'has one style for all layers'
    raise UserError(f'Layers {first}-{last} are not there: this model {has}. Set --layers.')
  index = np.arange(num)
  mask = ((index >= first) & (index <= last)).astype(np.float32)
  return mask.reshape(num, *[1] * (len(shape) - 1))


def parse_layers(text: str) -> tuple[int, int]:
  """Returns (first, last) of '0-3' or '2'."""
  first, _, last = text.partition('-')
  if not first.isdecimal() or not (last or first).isdecimal() or text.endswith('-'):
    raise UserError(f'{text!r} is not a range of layers. Give one such as 0-3.')
  return int(first), int(last or first)


def with_sign(vectors: np.ndarray) -> np.ndarray:
  """Returns vectors [k, d] or their negatives: the entry of largest size is positive."""
  at = np.abs(vectors).argmax(axis=1)
  return vectors * np.where(vectors[np.arange(len(vectors)), at] < 0, -1, 1)[:, None]


class Styles:
  """Styles of a model as rows of a matrix, without repeated layers.

  Attributes:
    rows: float64 [n, d], centred.
    shape: Of one style.
  """

  def __init__(self, w):
    w = np.asarray(w)
    self.shape = w.shape[1:]
    # If all layers have the same style (StyleGAN2's w), one of them is enough.
    self._shared = w.ndim > 2 and bool((w == w[:, :1]).all())
    self._num = w.shape[1] if self._shared else 1
    rows = (w[:, 0] if self._shared else w).reshape(len(w), -1).astype(np.float64)
    self.rows = rows - rows.mean(axis=0)

  def vectors(self, directions: np.ndarray) -> np.ndarray:
    """Returns directions [k, d] of the rows as unit vectors [k, ...] of styles."""
    length = np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-30)
    units = directions / length
    if self._shared:
      layer = units.reshape(len(units), 1, *self.shape[1:]) / np.sqrt(self._num)
      return np.broadcast_to(layer, (len(units), *self.shape))
    return units.reshape(len(units), *self.shape)

  def scales(self, vectors: np.ndarray) -> np.ndarray:
    """Returns standard deviations [k] of the styles along unit vectors [k, ...]."""
    flat = np.asarray(vectors, np.float64).reshape(len(vectors), *self.shape)
    # Layers of one and the same style add up along the vector.
    flat = (flat.sum(axis=1) if self._shared else flat).reshape(len(vectors), -1)
    return np.sqrt(((self.rows @ flat.T) ** 2).mean(axis=0))


def sample_styles(model, num: int = NUM_STYLES, seed: int = 0) -> Styles:
  """Returns the styles of `num` random latents, not truncated."""
  if num < 2:
    raise UserError(f'{num} styles have no spread. Set --num to at least 2.')
  model.check_latents()
  z = np.random.default_rng(seed).standard_normal((num, model.generator.z_dim), np.float32)
  return Styles(model.map(z, psi=1))
