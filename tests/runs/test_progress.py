"""The progress line and the split of the time."""

import io

import pytest

from jax3dgan.runs import progress


class Clock:
  """A clock that is set by hand."""

  now = 100.0

  def __call__(self):
    return self.now


class Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.mark.parametrize(
  'seconds, text',
  [
    (0.4, '0 s'),
    (59.7, '1 min 00 s'),
    (450, '7 min 30 s'),
    (11100, '3 h 05 min'),
    (2e5, '2 d 07 h'),
  ],
)
def test_duration(seconds, text):
  assert progress.duration(seconds) == text


def test_activities_are_summed_and_inner_ones_are_subtracted():
  clock = Clock()
  timings = progress.Timings(clock)
  with timings('steps'):
    clock.now += 5
    with timings('pictures'):
      clock.now += 2
    clock.now += 1
  with pytest.raises(RuntimeError), timings('steps'):
    clock.now += 4
    raise RuntimeError
  clock.now += 3
  assert timings.seconds == {'pictures': 2, 'steps': 10}
  assert timings.total == 15
  assert str(timings) == 'pictures 2 s, steps 10 s'


def test_rate_and_time_left():
  clock, stream = Clock(), io.StringIO()
  line = progress.Progress(100, first_step=10, stream=stream, clock=clock)
  clock.now += 5
  losses = {'G': 0.12345, 'D': 2, 'N': 8191.6}
  assert line.update(20, images=160, losses=losses) == pytest.approx(32)
  # 80 steps at half a second each.
  assert stream.getvalue() == 'step 20/100 · 32.0 images/s · 40 s left · G 0.123 · D 2 · N 8,192\n'
  clock.now += 60  # a compilation, left out
  line.restart_clock()
  clock.now += 5
  assert line.update(30, images=320) == pytest.approx(32)
  assert '35 s left' in stream.getvalue()


def test_in_a_terminal_the_line_is_rewritten():
  clock, stream = Clock(), Terminal()
  line = progress.Progress(4, stream=stream, clock=clock)
  for step in (1, 2):
    clock.now += 1
    line.update(step, images=step)
  line.say('saved')
  line.close()
  first, second = stream.getvalue().split('\r')[1:]
  assert first.startswith('step 1/4') and first.endswith('\033[K')
  assert second.endswith('1 s left\033[K\nsaved\n') or second.endswith('2 s left\033[K\nsaved\n')


def test_counter_leaves_the_first_batch_out_of_its_rate():
  clock, said = Clock(), []
  count = progress.Counter('photos', 7007, said.append, every=5, clock=clock)
  clock.now += 60  # a compilation
  count.add(64)
  assert said == ['photos 64/7,007']
  for _ in range(3):
    clock.now += 2
    count.add(64)
  # 192 images in 6 seconds after the first; the other texts would have come too early.
  assert said[1:] == ['photos 256/7,007 · 32.0 images/s · 3 min 31 s left']
  clock.now += 1
  count.add(6751)  # the end is always printed
  assert said[2:] == ['photos 7,007/7,007 · 991.9 images/s']
  progress.Counter('photos', 1).add(1)  # and nobody need listen


def test_counter_shows_its_text_on_a_line():
  clock, stream = Clock(), Terminal()
  line = progress.Line(stream)
  count = progress.Counter('photos', 20, line.show, every=1, clock=clock)
  for _ in range(2):
    clock.now += 2
    count.add(10)
  line.close()
  assert stream.getvalue() == '\rphotos 10/20\033[K\rphotos 20/20 · 5.0 images/s\033[K\n'
