"""The error that a user can mend: one line that names the cause and the remedy."""


class UserError(Exception):
  """Bad input. The message says what is wrong and what to do; `main` prints it without a stack."""


def not_written(owner, method: str) -> UserError:
  """The error of a contract's method that a subclass has to write and did not."""
  cls = type(owner)
  return UserError(
    f"{cls.__module__}:{cls.__qualname__} has no method '{method}'. Write it, see "
    'docs/add_a_model.md.'
  )
