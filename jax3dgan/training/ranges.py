"""Intervals of numbers, in the words of an error."""

import dataclasses
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class Range:
  """An interval of finite numbers.

  Attributes:
    low, high: its ends; None for no bound on that side.
    above, below: whether the low, the high end is excluded.
    note: what a special value stands for, for the message.
  """

  low: float | None = None
  high: float | None = None
  above: bool = False
  below: bool = False
  note: str = ''

  def contains(self, value: Any) -> bool:
    """Whether a value is a finite number of the interval; NaN is in none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
      return False
    if self.low is not None and not (value > self.low if self.above else value >= self.low):
      return False
    return self.high is None or (value < self.high if self.below else value <= self.high)

  def __str__(self):
    low, high = (None if end is None else f'{end:g}' for end in (self.low, self.high))
    if low == high and low is not None:
      text = low
    elif low is not None and high is not None:
      text = f'between {low} and {high}' if self.above else f'from {low} to {high}'
      text = f'a number {text}'
      text += f', {high} excluded' if self.below and not self.above else ''
    elif low is not None:
      text = f'a number above {low}' if self.above else f'{low} or more'
    else:
      text = 'a finite number' if high is None else f'at most {high}'
    return text + (f' ({self.note})' if self.note else '')
