"""Names of files as people and programs spell them: other separators, cases, endings, encodings."""

import collections
import os
import posixpath
import re
import unicodedata


def readable(name: str) -> str:
  """The name as text that any file can hold.

  Bytes that are not UTF-8, of a file system or an archive of an old Windows, are read as that
  system's Western European ones.
  """
  try:
    name.encode()
    return name
  except UnicodeEncodeError:  # bytes that Python keeps as lone surrogates
    data = os.fsencode(name)
  try:
    return data.decode('cp1252')
  except UnicodeDecodeError:
    return data.decode('latin-1')


def canonical(name: str) -> str:
  """The name with '/' between folders, no './' or '/' in front, and composed characters (NFC).

  macOS decomposes characters (NFD), Windows has '\\'.
  """
  name = unicodedata.normalize('NFC', readable(name)).replace('\\', '/')
  return posixpath.normpath(name).lstrip('/') if name else name


def _loose(name):
  """A name without regard to case and ending, as folders and a last part."""
  return tuple(re.sub(r'\.[^./]*$', '', canonical(name)).casefold().split('/'))


def match(wanted, given) -> dict[str, str]:
  """Which of the given names means which of the wanted ones.

  Equal ones go first, then those that are equal but for case, then but for the ending, then those
  of which one is the end of the other, as photos/1.png is of /home/me/photos/1.png. What could mean
  several means none.

  Args:
    wanted: names.
    given: other names.

  Returns:
    dict of wanted -> given, of those that have one.
  """
  found = {}
  keys = (canonical, lambda name: canonical(name).casefold(), _loose)
  for key in keys:
    left, free = _rest(wanted, given, found)
    if not left or not free:
      return found
    by_key = _unique(free, key)
    for value, name in _unique(left, key).items():
      if value in by_key:
        found[name] = by_key[value]
  left, free = _rest(wanted, given, found)
  candidates = [*_ends(left, free)] + [(b, a) for a, b in _ends(free, left)]
  times = [collections.Counter(side) for side in zip(*candidates, strict=True)] or [{}, {}]
  found |= {a: b for a, b in candidates if times[0][a] == 1 == times[1][b]}
  return found


def _rest(wanted, given, found):
  taken = set(found.values())
  return [name for name in wanted if name not in found], [n for n in given if n not in taken]


def _unique(names, key):
  """{key: name} of the names whose key no other one has."""
  groups = collections.defaultdict(list)
  for name in names:
    groups[key(name)].append(name)
  return {value: group[0] for value, group in groups.items() if len(group) == 1}


def _ends(short, long):
  """Pairs (a, b) where the name a is a true end of b, loosely."""
  by_key = _unique(short, _loose)
  for name in long:
    parts = _loose(name)
    ends = (by_key.get(parts[i:]) for i in range(1, len(parts)))
    if (found := next((end for end in ends if end is not None), None)) is not None:
      yield found, name
