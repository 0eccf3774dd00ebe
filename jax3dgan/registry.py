"""Classes by name: a name of this package's, or 'package.module:Class' of anybody's own."""

import importlib
from collections.abc import Mapping

from jax3dgan.errors import UserError


def resolve(kind: str, name: str, known: Mapping[str, str], base: type = object):
  """The class that a config names.

  Args:
    kind: What it is, for messages: 'generator'.
    name: A key of `known`, or a dotted path 'package.module:Class'.
    known: {name: dotted path}, loaded when they are asked for.
    base: What it is a subclass of.

  Raises:
    UserError: An unknown name, a module that cannot be imported, or no such class in it.
  """
  path = known.get(name, name)
  if ':' not in path or path.startswith((':', '.')):
    raise UserError(
      f"No {kind} is called '{name}'. Choose one of {', '.join(known)}, or name a class of your "
      "own as 'package.module:Class'."
    )
  module, _, attribute = path.partition(':')
  try:
    loaded = importlib.import_module(module)
  except ModuleNotFoundError as error:
    if error.name is None or not f'{module}.'.startswith(f'{error.name}.'):
      raise  # the module is there, one that it imports is not
    raise UserError(
      f"The {kind} '{name}' cannot be imported: there is no module '{error.name}'. Install its "
      'package, or add its folder to PYTHONPATH.'
    ) from None
  try:
    cls = getattr(loaded, attribute)
  except AttributeError:
    raise UserError(
      f"The {kind} '{name}' is missing: {module} has no '{attribute}'. Name a class of it."
    ) from None
  if not (isinstance(cls, type) and issubclass(cls, base)):
    raise UserError(
      f"The {kind} '{name}' is none: '{attribute}' is not a subclass of {base.__module__}."
      f'{base.__qualname__}. Make it one, see docs/add_a_model.md.'
    )
  return cls


def field_names(cls) -> tuple[str, ...]:
  """The fields of a Flax module class that a config may set: all but Flax's own two."""
  return tuple(name for name in cls.__dataclass_fields__ if name not in ('parent', 'name'))


def fields(cls) -> dict:
  """{field: default} of a Flax module class."""
  return {name: cls.__dataclass_fields__[name].default for name in field_names(cls)}


def check_fields(group: str, name: str, cls, given) -> None:
  """UserError where a config group has a field that its class does not have."""
  known = field_names(cls)
  if unknown := sorted(set(given) - set(known)):
    raise UserError(
      f"{group}.{unknown[0]} is not a field of '{name}'. It has: {', '.join(sorted(known))}."
    )


def build(kind: str, group: str, config, known: Mapping[str, str], base: type, choices=None):
  """The Flax module of a config group {'name': ..., its fields}.

  Args:
    choices: {field: words} of all classes, beside `choices` of a class of its own fields.

  Raises:
    UserError: An unknown name or field, or a word that is none of a field's.
  """
  given = dict(config)
  name = given.pop('name')
  cls = resolve(kind, name, known, base)
  if unknown := sorted(set(given) - set(field_names(cls))):
    # A flag that changes the name leaves the fields of the class that was there.
    setter = f"config.set_{group.rpartition('.')[2]}(config, '{name}')"
    raise UserError(
      f"{group}.{unknown[0]} is not a field of the {kind} '{name}'. In a config file, "
      f'{setter} makes the group anew, with its fields.'
    )
  _check_choices(group, {**(choices or {}), **getattr(cls, 'choices', {})}, given)
  # A config.json has lists, and a module must be hashable.
  return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in given.items()})


def _check_choices(group: str, choices, given) -> None:
  """UserError for a word that is none of a field's."""
  for field, words in choices.items():
    if field in given and given[field] not in words:
      raise UserError(f"{group}.{field} is '{given[field]}'. Choose one of {', '.join(words)}.")


def group_of(
  kind: str, group: str, name: str, known: Mapping[str, str], base: type, **given
) -> dict:
  """A config group of a class: its name and every field, at the default or as given.

  Raises:
    UserError: An unknown name or field.
  """
  cls = resolve(kind, name, known, base)
  check_fields(group, name, cls, given)
  return {'name': name, **fields(cls), **given}
