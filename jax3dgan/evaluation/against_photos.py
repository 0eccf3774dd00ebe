"""FID, KID, precision and recall of a generator against photos, by camera protocol."""

import dataclasses
from collections.abc import Callable, Sequence

from jax3dgan.errors import UserError
from jax3dgan.evaluation import distribution, fakes, features, real, report
from jax3dgan.evaluation.results import Result
from jax3dgan.feature_networks import inception_weights
from jax3dgan.runs import progress

# Number of generated images that are kept for the sheet of precision and recall.
_KEPT_IMAGES = 2048


def names(text: str, known, field: str) -> list[str]:
  """The names in 'a,b'; UserError for one that is not known."""
  chosen = [name.strip() for name in text.split(',') if name.strip()]
  for name in chosen:
    if name not in known:
      raise UserError(
        f'config.eval.{field} has {name!r}. Choose some of {", ".join(known)}, with commas.'
      )
  if not chosen:
    raise UserError(f'config.eval.{field} is empty. Choose some of {", ".join(known)}.')
  return chosen


class AgainstPhotos:
  """Measures generators one after the other, with the same photos, network and programs.

  Args:
    config: The whole config.
    mesh: The devices that share the work.
    say: Takes lines of progress.

  Raises:
    UserError: The network's weights are missing or wrong, or a camera protocol is unknown.
  """

  def __init__(self, config, mesh, say: Callable[[str], None]):
    self.config, self._mesh, self.say = config, mesh, say
    options = config.eval
    self._cameras = names(options.cameras, fakes.PROTOCOLS, 'cameras')
    weights = inception_weights.load(options.inception, options.dims)
    self._extractor = features.FeatureExtractor(weights, mesh, options.resize, options.batch_size)
    self._resolution = self._real = self._fakes = self._labels = None

  def check(self, dataset, chosen: Sequence[str]) -> None:
    """Raises a UserError if there are too few images for a metric, before any is generated."""
    options = self.config.eval
    size = len(dataset) * (2 if self.config.data.flip else 1)
    num_real = min(options.num_real or size, size)
    for name in chosen:
      reason = distribution.problem(
        name,
        num_real,
        options.num_images,
        self._extractor.dims,
        options.kid_subset_size,
        options.neighbours,
        is_all=num_real == size,
      )
      if reason:
        raise UserError(reason)

  def measure(self, model, dataset, chosen: Sequence[str]) -> dict[str, Result]:
    """FID, KID, precision and recall, for each camera protocol.

    Args:
      model: A `trained.Trained`.
      dataset: The photos, at the model's resolution.
      chosen: Some of `distribution.METRICS`.
    """
    options, results = self.config.eval, {}
    if self._resolution != model.resolution:
      self._real = self._fakes = self._labels = None
      self._resolution = model.resolution
    keep = distribution.num_features_kept(chosen)
    if self._real is None:
      self.say(f'Photos of {dataset.name} through the network ...')
      self._real = real.real_statistics(
        dataset,
        self._extractor,
        options.num_real,
        self.config.data.cache_dir or None,
        self.say,
        keep,
        mirror=self.config.data.flip,
        seed=options.seed,
      )
    if self._fakes is None:
      self._fakes = fakes.Fakes(
        model, self._mesh, options.batch_size, options.truncation_psi, options.seed
      )
    self._fakes.model = model
    for cameras in self._cameras:
      batches, reason = self._batches(cameras, model, dataset)
      suffix = '' if cameras == 'random' else f'/{cameras}_cameras'
      if reason:
        results |= {name + suffix: report.skipped(reason) for name in chosen}
        continue
      counter = progress.Counter(f'images, {cameras} cameras', options.num_images, self.say)
      fake = distribution.collect(batches, self._extractor, keep, _KEPT_IMAGES, counter)
      measured = distribution.measure(
        self._real,
        fake,
        self._extractor.label,
        chosen,
        kid_subsets=options.kid_subsets,
        kid_subset_size=options.kid_subset_size,
        neighbours=options.neighbours,
        seed=options.seed,
        protocol=self._protocol(cameras, model, dataset),
      )
      for name, result in measured.items():
        values = {f'{key}{suffix}': value for key, value in result.values.items()}
        results[name + suffix] = dataclasses.replace(result, values=values)
    return results

  def _batches(self, cameras, model, dataset):
    """The generated images of a camera protocol, or the reason that there are none."""
    num, seed = self.config.eval.num_images, self.config.eval.seed
    if cameras == 'random':
      return self._fakes.batches(num), ''
    if cameras == 'fixed' and not model.is_conditioned:
      return None, (
        f'The mapping network of {model.config.model.name} is not conditioned on the camera, so '
        'FID with a fixed one is FID of dataset cameras. Set --config.eval.cameras=dataset.'
      )
    if self._labels is None:
      self._labels = fakes.dataset_labels(dataset, num, seed)
    return self._fakes.batches(num, self._labels, cameras == 'fixed'), ''

  def _protocol(self, cameras, model, dataset) -> str:
    options, render = self.config.eval, self._fakes.options
    mirrored = ' and their mirror images' if self.config.data.flip else ''
    names = {
      'random': 'random cameras of the pose prior',
      'dataset': "the data set's cameras",
      'fixed': "the data set's cameras, a fixed one for the mapping network",
    }
    samples = f'{render.num_coarse}+{render.num_fine} samples a ray, ' if model.has_field else ''
    return (
      f'{names[cameras]}, {model.resolution}² pixels, {samples}'
      f'ψ {options.truncation_psi:g}, seed {options.seed}, photos of {dataset.name}{mirrored}, '
      f'Inception of {self._extractor.dims} features, {options.resize} resizing'
    )
