"""The error that a user can mend: one line that names the cause and the remedy."""


class UserError(Exception):
  """Bad input. The message says what is wrong and what to do; `main` prints it without a stack."""
