"""Evaluation from end to end: `python -m jax3dgan.main --mode=eval`, and during training.

docs/evaluation.md defines the metrics. All random numbers depend on the seed: the same model,
config, seed and version give the same figures.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from jax3dgan import generators, old_configs, trained
from jax3dgan.data import first_use, pipeline, rendered_faces
from jax3dgan.devices import compilation, parallel
from jax3dgan.errors import UserError
from jax3dgan.evaluation import (
  against_photos,
  depth_consistency,
  disentanglement,
  distribution,
  expression_of_data,
  fakes,
  flatness,
  held_out,
  identity,
  pose,
  probes,
  report,
  reprojection,
  truth,
  view_leak,
)
from jax3dgan.evaluation.results import Result
from jax3dgan.feature_networks import inception, inception_layers
from jax3dgan.inversion import frames
from jax3dgan.nn import auto_precision
from jax3dgan.runs import progress, workdirs, writers
from jax3dgan.training import schedule

DISTRIBUTION = distribution.METRICS
GEOMETRY = {
  'reprojection': reprojection.measure,
  'chamfer': depth_consistency.measure,
  'nfs': flatness.measure,
  'view_leak': view_leak.measure,
}
PROBED = {'pose': pose.measure, 'identity': identity.measure}
# Number of labelled photos that the probe of pose is trained on.
_PROBE_IMAGES = 20_000
OF_OBJECTS = {'objects': disentanglement.measure}
EXPRESSION = 'expression'
NEED_FIELD = (*GEOMETRY, 'truth')
METRICS = (*DISTRIBUTION, *GEOMETRY, 'truth', *PROBED, 'held_out', *OF_OBJECTS, EXPRESSION)


def check(config) -> None:
  """Whether `config.eval` names what there is: at the start of a run, not when it is measured.

  Raises:
    UserError: A metric, a camera protocol, a size of features or a resizing is unknown, or a metric
      that is asked for by name is of what the generator does not have.
  """
  options = config.eval
  if options.metrics != 'all':
    generator = generators.create(config)
    for name in against_photos.names(options.metrics, METRICS, 'metrics'):
      _check_generator(name, generator, config.model.name)
  against_photos.names(options.cameras, fakes.PROTOCOLS, 'cameras')
  for name, choices in (('resize', inception.RESIZES), ('dims', (0, *inception_layers.LAST_BLOCK))):
    if options[name] not in choices:
      raise UserError(
        f'config.eval.{name} is {options[name]!r}. Choose one of {", ".join(map(str, choices))}.'
      )


def _check_generator(metric: str, generator, name: str) -> None:
  """UserError for a metric of what a generator, called `name`, does not have."""
  remedy = f'Leave {metric} out of --config.eval.metrics.'
  if metric in OF_OBJECTS and generator.object_layout is None:
    raise UserError(f'The generator {name} has no objects that could be moved. {remedy}')
  if metric in NEED_FIELD and not generator.has_depth:
    raise UserError(
      f'The generator {name} makes pictures without a field: there is no depth to measure. {remedy}'
    )
  if metric in NEED_FIELD and generator.parallel_rays:
    raise UserError(f'{name} has parallel rays, and {metric} is of depth from a place. {remedy}')


class Evaluator:
  """Measures the generator repeatedly during training; programs are compiled once.

  Args:
    config: The whole config; `config.eval` says what is measured.
    say: Called with lines of progress.
    mesh: Devices for the images of the distribution metrics; None for all. With several processes
      each computes everything on its own devices, with the same result, without waiting for the
      others; process 0 writes.

  Raises:
    UserError: A metric that was asked for by name cannot be measured.
  """

  def __init__(self, config, say: Callable[[str], None], mesh=None):
    self.config, self.say = config, say
    self._mesh = parallel.local_mesh(mesh)
    self._by_name = config.eval.metrics != 'all'
    self._metrics = (
      against_photos.names(config.eval.metrics, METRICS, 'metrics') if self._by_name else METRICS
    )
    if not self._by_name:
      generator = generators.create(config)
      no_objects = OF_OBJECTS if generator.object_layout is None else ()
      # Of others it measures how far a direction gets, which is asked for by name.
      no_codes = () if generator.code_sizes else (EXPRESSION,)
      self._metrics = tuple(name for name in METRICS if name not in (*no_objects, *no_codes))
    self._photos = self._probes = self._data = None
    self._reasons = {}  # why a metric is skipped, by its name
    self._images = [name for name in DISTRIBUTION if name in self._metrics]
    if self._images:
      try:
        self._open_photos()
      except UserError as error:
        if self._by_name:
          raise
        self._reasons |= dict.fromkeys(self._images, str(error))

  def _open_photos(self):
    self._photos = against_photos.AgainstPhotos(self.config, self._mesh, self.say)
    if self._by_name:
      dataset = self._open_data(schedule.stages(self.config, None)[-1].resolution)
      self._photos.check(dataset, self._images)

  def run(self, model: trained.Trained, strict: bool | None = None):
    """Measures a model.

    Args:
      model: With the config of this evaluator.
      strict: Whether a metric that cannot be measured is an error, instead of a result that says
        why; None means: if the metrics were asked for by name.

    Returns:
      {metric: Result} and {metric: seconds}.
    """
    strict = self._by_name if strict is None else strict
    timings, results = progress.Timings(), {}
    images = [] if self._photos is None else self._images
    if images:
      with timings('images'):
        dataset = self._open_data(model.resolution)
        results |= _skipping_errors(
          lambda: self._photos.measure(model, dataset, images), images, strict
        )
    for name in self._metrics:
      if name not in images:
        with timings(name):
          results |= _skipping_errors(
            lambda name=name: {name: self._one(name, model)}, [name], strict
          )
    return results, timings.seconds

  def _one(self, name: str, model) -> Result:
    if name in self._reasons:
      return report.skipped(self._reasons[name])
    options = self.config.eval
    _check_generator(name, model.generator, model.name)
    self.say(f'Measuring {name} ...')
    common = dict(num_latents=options.num_latents, seed=options.seed, psi=options.truncation_psi)
    if name in GEOMETRY or name in OF_OBJECTS:
      return (GEOMETRY | OF_OBJECTS)[name](
        model, say=_counting(name, options.num_latents, self.say), **common
      )
    if name == 'truth':
      return self._truth(model)
    if name == 'held_out':
      return self._held_out(model)
    if name == EXPRESSION:
      say = _counting(name, options.num_latents, self.say, 'people')
      return expression_of_data.measure(model, self.config, self.say, say, **common)
    return PROBED[name](model, self._open_probes(model), say=self.say, **common)

  @property
  def _of_scenes(self) -> bool:
    """Whether toys are scenes of several cars, of which no single one is inverted or recognised."""
    return self.config.data.split.startswith('scenes')

  def _held_out(self, model) -> Result:
    """Views of a scene that it was not trained with."""
    held_out.check(model)
    views = held_out.open_views(self.config.data, model.resolution)
    return held_out.measure(model, views, _counting('held_out', len(views), self.say, 'views'))

  def _truth(self, model) -> Result:
    """Depth and mask of inverted photos whose truth is known."""
    options, source = self.config.eval, self.config.data.source
    if source == 'toys' and not self._of_scenes:
      examples = truth.toys_examples(options.num_inverted)
    elif rendered_faces.are(source):
      from jax3dgan.data.builders.ict_faces import generate as faces

      made_from, size = rendered_faces.of_config(self.config), max(model.resolution, 64)
      examples = faces.examples_with_truth(made_from, options.num_inverted, size)
    else:
      raise UserError(
        f'The true depth of {source} is not known. '
        'Set --config.data.source=toys --config.data.split=train, or leave truth out of '
        '--config.eval.metrics.'
      )
    # A generator that was trained with the photos' cameras has the photos' world.
    frame = frames.Frame() if self.config.data.use_labels else None
    return truth.measure_by_inversion(model, examples, seed=options.seed, frame=frame, say=self.say)

  def _open_data(self, resolution):
    """The photos at a resolution, which differs between the stages of a training."""
    data = self.config.data.copy_and_resolve_references()
    with data.unlocked():
      data.loader = 'arrays'
      data.on_device = False
      data.max_skipped = 0  # the figures must be those of all photos
    if self._data is None or self._data.resolution != resolution:
      largest = first_use.largest_resolution(self.config)
      self._data, self._probes = pipeline.open_dataset(data, resolution, largest=largest), None
    return self._data

  def _open_probes(self, model):
    """Networks that read pose and identity from this data at the model's resolution."""
    dataset = self._open_data(model.resolution)
    if self._probes is None:
      options = self.config.eval
      cache = self.config.data.cache_dir or None
      if self.config.data.source == 'toys' and not self._of_scenes:
        self._probes = probes.toys(
          model.resolution, options.probe_steps, options.seed, cache, self.say
        )
      else:
        images, labels = _labelled(dataset)
        self._probes = probes.pose_from_labels(
          images, labels, options.probe_steps, options.seed, cache, self.say
        )
    return self._probes


def _skipping_errors(measure, metrics, strict: bool) -> dict[str, Result]:
  try:
    return {name: report.checked(name, result) for name, result in measure().items()}
  except UserError as error:
    if strict:
      raise
    return {name: report.skipped(str(error)) for name in metrics}


def _counting(name: str, total: int, say, of: str = 'latents'):
  """Turns numbers of items (latents, photos) that are done into lines of progress."""
  counter, before = progress.Counter(f'{name}, {of}', total, say), 0

  def done(number):
    nonlocal before
    counter.add(number - before)
    before = number

  return done


def _labelled(dataset):
  """Images and labels to train a probe of pose with."""
  if not dataset.labelled:
    raise UserError(
      f'{dataset.name} has no cameras, so no network can learn to read poses from it. Name a '
      'data set with labels (--config.data.source=DIR), or leave pose and identity out of '
      '--config.eval.metrics.'
    )
  pairs = [dataset[i] for i in range(min(len(dataset), _PROBE_IMAGES))]
  return tuple(np.stack(parts) for parts in zip(*pairs, strict=True))


def measure(evaluator: Evaluator, model, workdir, writer=None, strict: bool | None = None) -> dict:
  """Measures a model and writes what `report.write` writes; returns the record.

  See `Evaluator.run` for `strict`.
  """
  results, seconds = evaluator.run(model, strict)
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
    workdir: The folder of the run, where the folder `eval` is written.
    pretrained: The name of a model of the package, which is evaluated; the folder is for what is
      written alone, and no run's.

  Raises:
    UserError: There is no checkpoint, the model is another one, the folder is that of another
      model's run, or a metric cannot be measured.
  """
  compilation.use_cache()
  line = progress.Line()
  workdir = pathlib.Path(workdir)
  if pretrained and (workdir / workdirs.CONFIG_FILE).exists():
    raise UserError(
      f'--workdir={workdir} is the folder of a run, and the figures of --pretrained={pretrained} '
      'would be among its own. Leave out --pretrained to measure the run, or give a folder without '
      'one.'
    )
  model = trained.load(None if pretrained else workdir, pretrained, step=config.eval.step or None)
  config = old_configs.complete(config)
  check(config)
  workdirs.check_same_model(model.config, config, pretrained or str(workdir))
  # Measured as it was trained, whatever this machine would choose.
  config = auto_precision.resolve(config, auto_precision.concrete(model.config))
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
