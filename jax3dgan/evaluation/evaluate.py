"""Evaluation from end to end: `python -m jax3dgan.main --mode=eval`, and during training.

docs/evaluation.md defines the metrics. Everything hangs on the seed: the same model, config, seed
and version give the same figures.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from jax3dgan import compilation, generators, parallel, progress, trained, workdirs, writers
from jax3dgan import config as config_lib
from jax3dgan.data import pipeline
from jax3dgan.errors import UserError
from jax3dgan.evaluation import (
  depth_consistency,
  distribution,
  fakes,
  features,
  flatness,
  identity,
  inception_weights,
  pose,
  probes,
  real,
  report,
  reprojection,
  truth,
  view_leak,
)
from jax3dgan.evaluation.results import Result

DISTRIBUTION = ('fid', 'kid', 'precision_recall')
GEOMETRY = {
  'reprojection': reprojection.measure,
  'chamfer': depth_consistency.measure,
  'nfs': flatness.measure,
  'view_leak': view_leak.measure,
}
PROBED = {'pose': pose.measure, 'identity': identity.measure}
# Generated images of which the sheet of precision and recall shows some.
_KEPT_IMAGES = 2048
# Labelled photos from which the probe of pose learns.
_PROBE_IMAGES = 20_000
METRICS = (*DISTRIBUTION, *GEOMETRY, 'truth', *PROBED)


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


class Evaluator:
  """Measures one generator after the other, as training goes on; what is compiled stays.

  Args:
    config: The whole config; `config.eval` says what is measured.
    say: Takes a line of text now and then.
    mesh: Devices for the images of the distribution metrics; None for all.

  Raises:
    UserError: At once, for what cannot be measured and was asked for by name.
  """

  def __init__(self, config, say: Callable[[str], None], mesh=None):
    self.config, self.say = config, say
    self._mesh = mesh or parallel.make_mesh()
    self._asked = config.eval.metrics != 'all'
    self._metrics = names(config.eval.metrics, METRICS, 'metrics') if self._asked else METRICS
    self._cameras = names(config.eval.cameras, fakes.PROTOCOLS, 'cameras')
    self._fakes = self._real = self._labels = self._probes = self._data = None
    self._reasons = {}  # why a metric is left out, by its name
    if set(self._metrics) & set(DISTRIBUTION):
      self._prepare(DISTRIBUTION, self._open_inception)

  def _prepare(self, metrics, prepare) -> None:
    """What asked-for metrics need; its lack is an error, or the reason why they are skipped."""
    try:
      prepare()
    except UserError as error:
      if self._asked:
        raise
      self._reasons |= dict.fromkeys(metrics, str(error))

  def _open_inception(self):
    options = self.config.eval
    weights = inception_weights.load(options.inception, options.dims)
    self._extractor = features.FeatureExtractor(
      weights, self._mesh, options.resize, options.batch_size
    )

  def run(self, model: trained.Trained) -> tuple[dict[str, Result], dict[str, float]]:
    """Measures a model; returns the results and the seconds of each, by the metric's name."""
    phases, results = progress.Phases(), {}
    chosen = [name for name in DISTRIBUTION if name in self._metrics]
    if chosen and chosen[0] not in self._reasons:
      with phases('distribution'):
        results |= self._distribution(model, chosen)
    for name in self._metrics:
      if name in DISTRIBUTION and name not in self._reasons:
        continue
      with phases(name):
        results[name] = self._one(name, model)
    return results, phases.seconds

  def _one(self, name: str, model) -> Result:
    if name in self._reasons:
      return report.skipped(self._reasons[name])
    self.say(f'Measuring {name} ...')
    options = self.config.eval
    common = dict(num_latents=options.num_latents, seed=options.seed, psi=options.truncation_psi)
    try:
      if name in GEOMETRY:
        return GEOMETRY[name](model, say=_counting(name, options.num_latents, self.say), **common)
      if name == 'truth':
        return self._truth(model)
      probe = self._open_probes(model)
      return PROBED[name](model, probe, say=self.say, **common)
    except UserError as error:
      if self._asked:
        raise
      return report.skipped(str(error))

  def _distribution(self, model, chosen) -> dict[str, Result]:
    """FID, KID, precision and recall, for each camera protocol."""
    options, results = self.config.eval, {}
    dataset = self._open_data(model.resolution)
    keep = distribution.kept_by(chosen)
    size = len(dataset) * (2 if self.config.data.flip else 1)
    for name in chosen:
      why = distribution.problem(
        name,
        min(options.num_real, size) or size,
        options.num_images,
        self._extractor.dims,
        options.kid_subset_size,
        options.neighbours,
      )
      if why and self._asked:
        raise UserError(why)
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
      batches, why = self._batches(cameras, model, dataset)
      suffix = '' if cameras == 'random' else f'/{cameras}_cameras'
      if why:
        results |= {name + suffix: report.skipped(why) for name in chosen}
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
    """The generated images of a camera protocol, or why there are none."""
    num, seed = self.config.eval.num_images, self.config.eval.seed
    if cameras == 'random':
      return self._fakes.batches(num), ''
    if cameras == 'fixed' and not fakes.sees_camera(model.generator):
      return None, (
        f'The mapping network of {model.config.model.name} sees no camera, so FID with a fixed one '
        'is FID of dataset cameras. Set --config.eval.cameras=dataset.'
      )
    if self._labels is None:
      self._labels = fakes.dataset_labels(dataset, num, seed)
    return self._fakes.batches(num, self._labels, cameras == 'fixed'), ''

  def _protocol(self, cameras, model, dataset) -> str:
    options, render = self.config.eval, self._fakes.options
    mirrored = ' and their mirror images' if self.config.data.flip else ''
    seen = {
      'random': 'random cameras of the pose prior',
      'dataset': "the data set's cameras",
      'fixed': "the data set's cameras, a fixed one for the mapping network",
    }[cameras]
    return (
      f'{seen}, {model.resolution}² pixels, {render.num_coarse}+{render.num_fine} samples a ray, '
      f'ψ {options.truncation_psi:g}, seed {options.seed}, photos of {dataset.name}{mirrored}, '
      f'Inception of {self._extractor.dims} features, {options.resize} resizing'
    )

  def _truth(self, model) -> Result:
    """Depth and mask of inverted photos whose truth is known."""
    if self.config.data.source != 'toys':
      raise UserError(
        f'Nothing is known of the depth of {self.config.data.source}. '
        'Set --config.data.source=toys, or leave truth out of --config.eval.metrics.'
      )
    options = self.config.eval
    examples = truth.toys_examples(options.num_inverted)
    return truth.measure_by_inversion(model, examples, seed=options.seed, say=self.say)

  def _open_data(self, resolution):
    """The photos at a resolution; those of one stage of the training serve no other."""
    data = self.config.data.copy_and_resolve_references()
    with data.unlocked():
      if not data.source.startswith(pipeline.TFDS):
        data.loader = 'arrays'
      data.on_device = False
    if self._data is None or self._data.resolution != resolution:
      self._data, self._real, self._fakes, self._probes = (
        pipeline.open_dataset(data, resolution),
        None,
        None,
        None,
      )
    return self._data

  def _open_probes(self, model):
    """Networks that read pose and identity, of this data at the model's resolution."""
    dataset = self._open_data(model.resolution)
    if self._probes is None:
      options = self.config.eval
      cache = self.config.data.cache_dir or None
      if self.config.data.source == 'toys':
        self._probes = probes.toys(
          model.resolution, options.probe_steps, options.seed, cache, self.say
        )
      else:
        images, labels = _labelled(dataset)
        self._probes = probes.pose_from_labels(
          images, labels, options.probe_steps, options.seed, cache, self.say
        )
    return self._probes


def _counting(name: str, total: int, say):
  """Turns the numbers of latents done so far into lines of progress."""
  counter, before = progress.Counter(f'{name}, latents', total, say), 0

  def done(number):
    nonlocal before
    counter.add(number - before)
    before = number

  return done


def _labelled(dataset):
  """Images and labels to train a probe of pose with."""
  if not dataset.labelled:
    raise UserError(
      f'{dataset.name} has no cameras, so nothing can learn to read poses from it. Name a data set '
      'with labels (--config.data.source=DIR), or leave pose and identity out of '
      '--config.eval.metrics.'
    )
  pairs = [dataset[i] for i in range(min(len(dataset), _PROBE_IMAGES))]
  return tuple(np.stack(parts) for parts in zip(*pairs, strict=True))


def measure(evaluator: Evaluator, model: trained.Trained, workdir, writer=None) -> dict:
  """Measures a model and writes what `report.write` writes; returns the record."""
  results, seconds = evaluator.run(model)
  about = report.record(model, evaluator.config, results, seconds)
  if jax.process_index() == 0:
    report.write(workdir, about, results, writer)
  evaluator.say(report.table(about, results))
  return about


def run(config, workdir, pretrained: str | None = None) -> dict:
  """Evaluates the model of a workdir, or a pretrained one, under a config; returns the record.

  Args:
    config: `config.eval` says what is measured and `config.data` against which photos. Its model
      must be the one that was trained.
    workdir: Where the run lies, and the folder `eval` is written.
    pretrained: The name of a model of the package, instead of the run's.

  Raises:
    UserError: Nothing there to evaluate, another model, or what cannot be measured.
  """
  compilation.use_cache()
  line = progress.Line()
  workdir = pathlib.Path(workdir)
  model = trained.load(None if pretrained else workdir, pretrained, step=config.eval.step or None)
  config = config_lib.complete(config)
  workdirs.check_same_model(model.config, config, pretrained or str(workdir))
  model = dataclasses.replace(model, config=config, generator=generators.create(config))
  evaluator = Evaluator(config, line.say)
  with workdirs.disk_errors(workdir):
    workdir.mkdir(parents=True, exist_ok=True)
    writer = writers.create(workdir)
    about = measure(evaluator, model, workdir, writer)
    writer.close()
  folder = workdir / report.FOLDER / f'{model.step:08d}'
  line.say(f'\nDone: {folder}/{report.FILE} and its pictures.')
  return about
