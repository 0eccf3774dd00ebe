"""Trained generators outside of a run: by a name of the package, a folder, or a name on the hub."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from jax3dgan import generators
from jax3dgan.generators.base import GROWTH
from jax3dgan.runs import hub_files, model_folders, packaged


class Stored(NamedTuple):
  """A stored generator.

  Attributes:
    name: What to call it.
    facts: Of its JSON file: config, step, notes.
    variables: Reads its variables for a generator.
  """

  name: str
  facts: dict
  variables: Callable


def find(source: str, directory=packaged.PRETRAINED) -> Stored:
  """The model that a source names.

  Args:
    source: A name of the package's models; a folder with config.json and model.safetensors; or
      'user/model' on the Hugging Face Hub, with '@revision' if need be. In this order.
    directory: Where the package's models lie.

  Raises:
    UserError: It is none of these, or cannot be read.
  """
  source = str(source)
  if source in packaged.pretrained_names(directory):
    return Stored(source, packaged.metadata(source, directory), _of_package(source, directory))
  folder = source
  if not model_folders.is_folder(source):
    if not hub_files.is_name(source):
      packaged.metadata(source, directory)  # raises, with the names that there are
    folder = hub_files.download(source)
  facts = model_folders.facts_of(folder)
  return Stored(facts['name'], facts, _of_folder(folder))


def _of_package(name, directory):
  def read(generator):
    arrays, _ = packaged.read(name, directory)
    return packaged.variables_of(generator, arrays)

  return read


def _of_folder(folder):
  def read(generator):
    params = model_folders.read(folder)
    buffers = params.pop('buffers', {})
    buffers.pop(GROWTH, None)  # follows from the step
    variables = {'params': params, **({'buffers': buffers} if buffers else {})}
    expected = jax.eval_shape(lambda: generators.init(generator, jax.random.key(0)))
    model_folders.check(folder, variables, expected)
    return jax.tree.map(lambda x, like: x.astype(like.dtype), variables, expected)

  return read
