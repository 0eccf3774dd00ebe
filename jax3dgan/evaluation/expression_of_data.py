"""Expressions that a generator is told (`expression`), or directions for them in one that is told
none (`expression_direction`), by what its data are rendered from."""

from jax3dgan.data import face_models, rendered_faces
from jax3dgan.data.builders.ict_faces import generate
from jax3dgan.errors import UserError
from jax3dgan.evaluation import expression, expression_direction, expression_reader
from jax3dgan.evaluation.results import Result


def measure(model, config, say, count, **common) -> Result:
  """Measures a `trained.Trained`.

  Args:
    config: whose `data` is the source of the faces, and `eval` says how the reader is trained.
    say: called with lines of progress.
    count: called with the number of people that are done.
    **common: of both, as `num_latents`.

  Raises:
    UserError: the data are no rendered faces, or as those of the two.
  """
  source = config.data.source
  if not rendered_faces.are(source):
    raise UserError(
      f'The true expressions of {source} are not known. Train on rendered faces (docs/faces.md), '
      'or leave expression out of --config.eval.metrics.'
    )
  source = rendered_faces.of_config(config)
  whole = face_models.load(generate.parse(source).folder)
  # Before the reader is trained.
  if model.generator.code_sizes:
    expression.check(model, whole, common.get('num_latents', expression.NUM_PEOPLE))
  else:
    model.check_latents()
  cache = config.data.cache_dir or None
  reader = expression_reader.train(
    source, model.resolution, config.eval.probe_steps, cache_dir=cache, say=say
  )
  if not model.generator.code_sizes:
    return expression_direction.measure(model, reader, say=count, **common)
  return expression.measure(model, reader, whole, say=count, **common)
