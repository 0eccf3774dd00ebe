"""The error that a user can mend: one line that names the cause and the remedy."""

import re


class UserError(Exception):
  """Bad input. The message says what is wrong and what to do; `main` prints it without a stack."""


def not_written(owner, method: str) -> UserError:
  """The error of a contract's method that a subclass has to write and did not."""
  cls = type(owner)
  return UserError(
    f"{cls.__module__}:{cls.__qualname__} has no method '{method}'. Write it, see "
    'docs/add_a_model.md.'
  )


def first_line(error: BaseException) -> str:
  """The first line of an error's text, shortened, for a message of one line."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  first = re.sub(r'\s+', ' ', lines[0]) if lines else type(error).__name__
  return first[:160].rstrip('.')
