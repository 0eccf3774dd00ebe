"""What every program of the package does with its arguments and its terminal before anything else.

Shells expand `~` at the start of a word and not in `--out=~/x.png`; argparse takes `-30,0,30` for a
flag; a terminal may have an encoding that lacks a character of a message.
"""

import os
import re
import sys
from collections.abc import Sequence

_FLAG = re.compile(r'--?[A-Za-z][\w.-]*')
_FLAG_OF_HOME = re.compile(rf'({_FLAG.pattern}=)?(~.*)', re.DOTALL)
_NEGATIVE = re.compile(r'-\.?\d[\d.,eE+-]*')


def arguments(argv: Sequence[str] | None = None) -> list[str]:
  """Returns the arguments of a program, and lets its terminal print any text.

  A path that begins with `~` becomes that of the home folder, and a flag is joined with the
  negative numbers after it: `--yaws -30,0` is `--yaws=-30,0`.

  Args:
    argv: The arguments; None for the command line's, without the program's name.
  """
  tolerate_any_text()
  given = list(sys.argv[1:] if argv is None else argv)
  joined = []
  for word in given:
    if joined and _FLAG.fullmatch(joined[-1]) and _NEGATIVE.fullmatch(word):
      joined[-1] = f'{joined[-1]}={word}'
    else:
      joined.append(word)
  return [_at_home(word) for word in joined]


def _at_home(word: str) -> str:
  match = _FLAG_OF_HOME.fullmatch(word)
  return (match[1] or '') + os.path.expanduser(match[2]) if match else word


def expand_home(config) -> None:
  """Replaces `~` at the start of the texts of a config, in place: those are paths."""
  for key, value in config.items():
    if hasattr(value, 'items'):
      expand_home(value)
    elif isinstance(value, str) and value.startswith('~'):
      config[key] = os.path.expanduser(value)


def tolerate_any_text() -> None:
  """Makes output escape what its encoding lacks, such as → in cp1252 or a name that is not UTF-8.

  An error while printing would end a program whose work is done.
  """
  for stream in (sys.stdout, sys.stderr):
    if getattr(stream, 'errors', None) == 'strict' and hasattr(stream, 'reconfigure'):
      stream.reconfigure(errors='backslashreplace')
