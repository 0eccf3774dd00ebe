"""The result of a measurement."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Result:
  """One measurement.

  Attributes:
    values: The figures, by names that say what they are: {'FID-2048': 12.3}.
    protocol: How they were measured, in one line: number of images, cameras, network, seed.
    sheet: uint8 [h, w, 3], a picture of the measurement; None without one.
    skipped: The reason that nothing was measured, and the remedy; '' if there are values.
  """

  values: dict[str, float]
  protocol: str = ''
  sheet: np.ndarray | None = None
  skipped: str = ''
