"""Files below a folder, through links to other folders, each folder once."""

import os


def walk(folder, skipped=None):
  """Yields (path below the folder with '/', name) of the files, hidden folders left out.

  Links to folders are followed after everything that is really there, unless they lead to a folder
  that was read already: also one that contains the link.

  Args:
    folder: path.
    skipped: a list, to which a line is added for each folder that is not read.
  """
  seen, links = set(), []
  yield from _below(os.fspath(folder), '', seen, links, skipped)
  while links:
    path, below = links.pop(0)
    if _identity(path) in seen:
      if skipped is not None:
        skipped.append(f'The link {below} leads to a folder that is read already: left out.')
      continue
    yield from _below(path, below, seen, links, skipped)


def _below(path, below, seen, links, skipped):
  try:
    identity = _identity(path)
    if identity in seen:  # below a link to a folder that contains this one
      return
    with os.scandir(path) as entries:
      entries = sorted(entries, key=lambda entry: entry.name)
  except OSError as error:
    if skipped is not None:
      skipped.append(f'The folder {below or path} cannot be read ({error.strerror}): left out.')
    return
  seen.add(identity)
  inner = []
  for entry in entries:
    place = f'{below}/{entry.name}' if below else entry.name
    if not _is_folder(entry):
      yield place
    elif not entry.name.startswith('.'):
      (links if entry.is_symlink() else inner).append((entry.path, place))
  for place in inner:
    yield from _below(*place, seen, links, skipped)


def _is_folder(entry):
  try:
    return entry.is_dir()
  except OSError:  # a link in a circle
    return False


def _identity(path):
  status = os.stat(path)
  return status.st_dev, status.st_ino


def status(path):
  """(bytes, stamp) of a file; the stamp is a text of its size and its time of change.

  (0, 'missing') where it cannot be reached.
  """
  try:
    found = os.stat(path)
  except OSError:
    return 0, 'missing'
  return found.st_size, f'{found.st_size}:{found.st_mtime_ns}'
