"""JSON that every reader accepts: no NaN, and UTF-8 also where a file's name is not."""

import json
import math
from typing import Any


def dumps(value: Any, indent: int | None = 2, **options) -> str:
  """Returns a value as JSON that ends with a newline where it is indented.

  Numbers that are not finite, for which JSON has no form, become null. Bytes of a file's name that
  are not UTF-8 (surrogates in Python) are escaped, and `json.loads` gives them back.

  Args:
    value: Of JSON's types; tuples become lists.
    indent: Spaces; None for one line.
    **options: Further ones of `json.dumps`.
  """
  text = json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False, **options)
  return encodable(text) + ('' if indent is None else '\n')


def finite(value: Any) -> Any:
  """Returns a value with None in place of each number that is not finite."""
  if isinstance(value, dict):
    return {key: finite(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [finite(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def encodable(text: str) -> str:
  r"""Returns a text that UTF-8 can encode: bytes of names that are not UTF-8 become \udcXX."""
  return text.encode('utf-8', 'backslashreplace').decode()
