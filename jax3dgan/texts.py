"""Text and JSON that people write: byte order marks, UTF-16, a comma too many."""

import codecs
import json
import re

from jax3dgan.errors import UserError

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decode(data: bytes, name) -> str:
  """The text of a file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

  Raises:
    UserError: it is neither.
  """
  try:
    return data.decode('utf-16' if data.startswith(_UTF_16) else 'utf-8-sig')
  except UnicodeDecodeError as error:
    raise UserError(f'{name} is not UTF-8 text ({error.reason}). Save it as UTF-8.') from error


def parse_json(data: bytes | str, name):
  """The value of a JSON file; UserError, with line and column, where it is none.

  Args:
    data: content of the file.
    name: of the file, for messages.
  """
  text = decode(data, name) if isinstance(data, bytes) else data
  try:
    return json.loads(text)
  except json.JSONDecodeError as error:
    place, cause = error.pos, error.msg
    comma = re.search(r',\s*$', text[:place])  # newer Pythons give the comma's own place
    if text[place : place + 1] == ',':
      comma = re.match(r',\s*[\]}]', text[place:])
      is_comma = comma is not None
    else:
      is_comma = comma is not None and text[place : place + 1] in (']', '}')
      place = comma.start() if is_comma else place
    cause = 'a comma before a closing bracket' if is_comma else cause
    line, column = text.count('\n', 0, place) + 1, place - text.rfind('\n', 0, place)
    raise UserError(
      f'{name} is not JSON: line {line}, column {column}: {cause}. Mend it there.'
    ) from error
  except (ValueError, RecursionError) as error:
    raise UserError(f'{name} is not JSON ({error}). Write or fetch it again.') from error
