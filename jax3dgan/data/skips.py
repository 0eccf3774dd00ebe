"""Images that cannot be used and files that cannot be reached: what training does about them.

A damaged image is replaced by the next one in the data set's order, wherever it would have been
read. Which one that is follows from the files alone, so that both loaders, all hosts and a resumed
run agree. A file that cannot be reached is tried again.
"""

import math
import sys
import threading
import time

from jax3dgan.errors import UserError

# Seconds before each further try: a network disk that is mounted again takes some.
PAUSES = (1.0, 4.0, 15.0, 60.0)
_POLL = 0.25  # seconds between calls of `Skips.stops`
AUTOMATIC = -1
_SHARE = 1000  # one image in so many may be damaged ...
_FEW = 3  # ... or so many
_NAMED = 3  # in the message of a run that stops


class DamagedError(UserError):
  """A record whose bytes are not those that were written."""


class UnreachableError(UserError):
  """A file that cannot be opened or read now."""


def report(text):
  """Prints a line to stderr; the usual `say`."""
  print(text, file=sys.stderr, flush=True)


class Skips:
  """The images of one data set that were found to be damaged. Safe with threads.

  Args:
    count: number of images of the data set.
    limit: how many may be skipped; -1 for one in a thousand, but at least three.

  Attributes:
    say: called with one line for each skipped image and for each further try.
    stops: whether the program is to stop: then no file that is away is waited for.
    limit: how many images may be skipped.
  """

  def __init__(self, count, limit=AUTOMATIC):
    if limit < AUTOMATIC:
      raise UserError(f'config.data.max_skipped is {limit}. Set it to a number, or -1 for a few.')
    limit = max(_FEW, count // _SHARE) if limit == AUTOMATIC else limit
    self.limit = min(limit, count - 1)  # one has to be left
    self.say = report
    self.stops = lambda: False
    self._count = count
    self._causes = {}
    self._lock = threading.Lock()
    self._trying = threading.Lock()
    self._gave_up = None

  def __len__(self):
    return len(self._causes)

  def usable(self, i, read):
    """What `read` gives for image i, or for the next one that can be used.

    Args:
      i: number of an image.
      read: function of a number; its UserError, but for `UnreachableError`, means damage.

    Raises:
      UserError: where too many are damaged, or a file stays away.
    """
    while True:
      if len(self._causes) > self.limit:  # another thread found the last one
        raise self._too_many()
      if i not in self._causes:
        try:
          return self._read(i, read)
        except UnreachableError:
          raise
        except UserError as error:
          self.skip(i, error)
      i = (i + 1) % self._count

  def skip(self, i, error):
    """Notes that image i is damaged; UserError where that is one too many."""
    with self._lock:
      if i not in self._causes:
        self._causes[i] = cause = str(error).rstrip('.')
        if len(self._causes) <= self.limit:
          self.say(
            f'Warning: an image is skipped, the next one stands in for it: {cause} '
            f'({len(self._causes)} of at most {self.limit}).'
          )
      if len(self._causes) > self.limit:
        raise self._too_many() from error

  def _too_many(self):
    named = '; '.join(list(self._causes.values())[:_NAMED])
    more = len(self._causes) - _NAMED
    return UserError(
      f'{len(self._causes)} of {self._count} images are damaged, and at most {self.limit} may be: '
      f'{named}{f"; and {more} more" if more > 0 else ""}. Copy the data again, or prepare it '
      'again in a new folder; --config.data.max_skipped=N lets N be skipped.'
    )

  def _read(self, i, read):
    try:
      return read(i)
    except UnreachableError as error:
      first = error
    # One thread at a time waits; the others find the file there again, or given up.
    with self._trying:
      if self._gave_up is not None:
        raise self._gave_up
      for number, pause in enumerate((0.0, *PAUSES)):
        if pause:
          self.say(
            f'Warning: {str(first).split(". ")[0]}. Trying again in {pause:g} s '
            f'({number} of {len(PAUSES)}).'
          )
          if not self._waits(pause):
            raise first
        try:
          return read(i)
        except UnreachableError as error:
          first = error
      self._gave_up = first
      raise first

  def _waits(self, seconds):
    """Waits so long; False, at once, where the program is to stop."""
    for _ in range(math.ceil(seconds / _POLL)):
      if self.stops():
        return False
      time.sleep(_POLL)
    return not self.stops()
