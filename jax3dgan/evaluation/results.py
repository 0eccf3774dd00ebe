"""What every measurement returns."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Result:
  """One measurement.

  Attributes:
    values: The figures, by names that say what they are: {'FID-2048': 12.3}.
    protocol: How they were taken, in one line: number of images, cameras, network, seed.
    sheet: uint8 [h, w, 3], a picture of what the measurement saw; None where there is none.
    skipped: Why nothing was measured, with the remedy; '' where something was.
  """

  values: dict[str, float]
  protocol: str = ''
  sheet: np.ndarray | None = None
  skipped: str = ''
