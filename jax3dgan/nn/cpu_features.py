"""What a CPU's instructions are, as far as a choice here depends on it."""

import functools
import pathlib

_CPUINFO = pathlib.Path('/proc/cpuinfo')
# x86: of vectors (AMD from Zen 4 on, Intel from Cooper Lake on) and of tiles. Arm's have not been
# measured.
_BFLOAT16 = {'avx512_bf16', 'amx_bf16'}


def flags(text: str) -> set[str]:
  """The flags of the first CPU in a text of the form of Linux' /proc/cpuinfo."""
  lines = (line.partition(':') for line in text.splitlines())
  return set(next((values.split() for name, _, values in lines if name.strip() == 'flags'), ()))


@functools.cache
def multiplies_bfloat16() -> bool:
  """Whether this machine's CPU has products of bfloat16 with sums of float32, and XLA uses them."""
  try:
    return bool(_BFLOAT16 & flags(_CPUINFO.read_text()))
  except OSError:  # no Linux
    return False
