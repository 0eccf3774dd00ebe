"""Parameters of a network in two parts: those that are trained, and those that are frozen."""

from typing import Any


def split(params, frozen: tuple[str, ...]) -> tuple[Any, Any]:
  """(trained, frozen) parameters of a network by the top-level names of those that are frozen."""
  if not frozen:
    return params, {}
  constant = {name: params[name] for name in frozen}
  return {name: x for name, x in params.items() if name not in constant}, constant


def joined(trained, constant):
  """The inverse of `split`."""
  return {**trained, **constant} if constant else trained
