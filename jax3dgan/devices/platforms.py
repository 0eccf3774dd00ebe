"""The platform of a run: one that was asked for, or is visible, and is not used is an error.

Where a driver or a plugin is missing JAX falls back to the CPU, with a warning at most: a run on
eight H100 would train on the cores of their host. `choose` comes before JAX is asked for a device,
`check` after.
"""

import ctypes
import glob
import importlib.metadata
import importlib.util
import os
import pathlib
import sys

import jax

from jax3dgan.devices import cpu_devices, hosts
from jax3dgan.errors import UserError, first_line

NAMES = ('auto', 'any', 'gpu', 'tpu', 'cpu')
# Names in JAX_PLATFORMS; of others nothing is known, and nothing is checked.
_ALIASES = {'gpu': 'gpu', 'cuda': 'gpu', 'rocm': 'gpu', 'tpu': 'tpu', 'cpu': 'cpu'}
_PCI = pathlib.Path('/sys/bus/pci/devices')
_GOOGLE = '0x1ae0'  # its number as a vendor of PCI devices
_UNKNOWN = 'not in the list of known backends'  # of a plugin that failed, which JAX has logged
_CORES_PER_DEVICE = 2  # one decodes images, one feeds the device
_BY_VARIABLE = 'To use the CPU: JAX_PLATFORMS=cpu.'  # apps have no config on the command line
_ON_CPU = 'To use the CPU: --config.platform=cpu or JAX_PLATFORMS=cpu.'


def wanted(name: str = 'auto') -> str:
  """Returns the platform that was asked for: 'gpu', 'tpu', 'cpu', or 'auto' where none was.

  Args:
    name: The config's field `platform`, which comes before JAX_PLATFORMS.

  Raises:
    UserError: There is no platform of that name.
  """
  if name not in NAMES:
    raise UserError(f'config.platform is {name!r}. Set --config.platform to {" or ".join(NAMES)}.')
  if name not in ('auto', 'any'):
    return name
  return _ALIASES.get((jax.config.jax_platforms or '').split(',')[0], 'auto')


def choose(name: str = 'auto') -> None:
  """Makes JAX take the platform that was asked for, and report why it cannot.

  Args:
    name: As of `wanted`.

  Raises:
    UserError: It cannot be there, for a reason that is known before JAX starts. In a run of several
      processes the others then do not wait for this one's devices.
  """
  platform = wanted(name)
  given = [platform] if name == platform else (jax.config.jax_platforms or '').split(',')
  if platform in ('gpu', 'tpu'):
    if causes := _obstacles(platform):
      raise _missing(name, platform, causes)
    # The CPU stays available beside it: the toys are drawn there.
    names = [_gpu_name() if given_name == 'gpu' else given_name for given_name in [*given, 'cpu']]
    jax.config.update('jax_platforms', ','.join(dict.fromkeys(names)))
  elif name == 'cpu':
    jax.config.update('jax_platforms', 'cpu')


def check(name: str = 'auto', strict: bool = True) -> None:
  """Starts JAX's devices, unless they are, and checks that they are of the right platform.

  Args:
    name: As of `wanted`.
    strict: Whether an accelerator that is visible, but was not asked for, must be used; otherwise,
      or with the name 'any', a warning says that it is not.

  Raises:
    UserError: The platform that was asked for is not there, or, if `strict`, not used.
  """
  platform, failure = wanted(name), None
  try:
    found = jax.default_backend()
  except (RuntimeError, AssertionError) as error:  # JAX's; the latter where it has no backend
    if hosts.lost(error):
      raise
    found, failure = None, error
  if platform == found or (platform == 'auto' and found not in ('cpu', None)):
    return
  if platform != 'auto':
    raise _missing(name, platform, _obstacles(platform), failure, found) from failure
  if failure:
    raise UserError(f'JAX cannot start: {first_line(failure)}. {_ON_CPU}') from failure
  if jax.config.jax_platforms or not (seen := visible()):
    return
  platform, what = seen
  causes, remedies = _sentences(_obstacles(platform) or [_silent(platform)])
  line = f'{what}, but JAX uses the CPU: {causes}. {remedies}'
  if strict and name != 'any':
    raise UserError(line + _ON_CPU)
  print(f'Warning: {line}{_BY_VARIABLE}', file=sys.stderr)


def start() -> None:
  """Starts JAX's devices for a program that trains nothing and has no field `platform`.

  Raises:
    UserError: The platform in JAX_PLATFORMS is not there.
  """
  choose()
  check(strict=False)


def _silent(platform: str) -> tuple[str, str]:
  """The cause and remedy where there is no obstacle that is known, and no error of JAX's."""
  extra = 'tpu' if platform == 'tpu' else 'cuda12'
  return (
    'its plugin does not start (see the lines above)',
    f"Install it with all that it needs: pip install -e '.[{extra}]'",
  )


def _missing(name, platform, causes, failure=None, found=None) -> UserError:
  """The error of a platform that was asked for and is not there.

  Args:
    name, platform: What the config says, and what that means.
    causes: As of `_obstacles`.
    failure: JAX's own error, if any.
    found: The platform that JAX has taken instead.
  """
  if not causes and failure is not None and str(failure) and _UNKNOWN not in str(failure):
    causes = [(f'JAX says: {first_line(failure)}', '')]
  elif not causes and found:
    causes = [(f'JAX has started with the {found.upper()} already', 'Start a new process')]
  causes, remedies = _sentences(causes or [_silent(platform)])
  by_field = name == platform
  asked = f'--config.platform={platform}' if by_field else 'JAX_PLATFORMS'
  if platform == 'cpu':
    return UserError(f'{asked} asks for the CPU, which is not used: {causes}. {remedies}'.strip())
  return UserError(
    f'{asked} asks for a {platform.upper()}, and none can be used: {causes}. {remedies}'
    + (_ON_CPU if by_field else _BY_VARIABLE)
  )


def _sentences(causes) -> tuple[str, str]:
  """The causes as one clause, and the remedies as sentences with a space behind."""
  remedies = ''.join(f'{remedy}. ' for _, remedy in causes if remedy)
  return '; '.join(cause for cause, _ in causes), remedies


def _obstacles(platform: str) -> list[tuple[str, str]]:
  """What keeps JAX from a platform, as far as it is known without starting it: (cause, remedy)s."""
  found = []
  if platform == 'tpu':
    if not importlib.util.find_spec('libtpu') and not os.environ.get('TPU_LIBRARY_PATH'):
      found.append(('the package libtpu is not installed', "Install it: pip install -e '.[tpu]'"))
      if not _tpu_devices():
        found.append(
          ('no TPU is visible', 'Run on a TPU VM, or (GKE) set the limit google.com/tpu')
        )
    return found
  if platform != 'gpu' or _gpu_name() == 'rocm':
    return found
  visible_devices = os.environ.get('CUDA_VISIBLE_DEVICES')
  if _hidden(visible_devices):
    found.append((f"CUDA_VISIBLE_DEVICES='{visible_devices}' hides all GPUs", 'Unset it'))
  elif not _nvidia_devices():
    found.append(
      (
        'no NVIDIA driver is visible (/dev/nvidia*)',
        'Run where nvidia-smi lists a GPU (Docker: --gpus=all; SLURM: --gpus-per-node; Kubernetes: '
        'the limit nvidia.com/gpu)',
      )
    )
  elif not _loads('libcuda.so.1'):
    found.append(
      (
        "the driver's libcuda.so.1 is not found",
        'Add its folder to LD_LIBRARY_PATH, such as /usr/local/nvidia/lib64 on GKE',
      )
    )
  if not any('cuda' in plugin for plugin in _plugins()):
    found.append(
      (
        "JAX's plugin for CUDA is not installed",
        "Install it: pip install -e '.[cuda12]' (drivers from 580 on: cuda13)",
      )
    )
  return found


def visible() -> tuple[str, str] | None:
  """The accelerator that the system has, whether JAX uses it or not.

  Returns:
    Its platform and a clause that says what was found, or None.
  """
  hidden = _hidden(os.environ.get('CUDA_VISIBLE_DEVICES'))
  # Not /dev/dxg, which WSL has for the graphics of any maker.
  if not hidden and (found := glob.glob('/dev/nvidia[0-9]*')):
    return 'gpu', f'An NVIDIA GPU is visible ({min(found)})'
  if found := _tpu_devices():
    return 'tpu', f'A TPU is visible ({min(found)})'
  return None


def few_cores() -> str:
  """A line that says that the cores of this host are few for its accelerators; '' if they are
  not."""
  if jax.default_backend() == 'cpu':
    return ''
  devices, cores = jax.local_device_count(), cpu_devices.cores()
  if cores >= _CORES_PER_DEVICE * devices:
    return ''
  return (
    f'{cores} core(s) feed {devices} device(s), which may wait for images. Give this process '
    f'{_CORES_PER_DEVICE * devices} or more (SLURM: --cpus-per-task), or keep the '
    'data on the device: --config.data.loader=arrays --config.data.on_device.'
  )


def _hidden(visible_devices: str | None) -> bool:
  """Whether this value of CUDA_VISIBLE_DEVICES leaves no GPU."""
  return visible_devices is not None and (
    visible_devices.strip() in ('', 'NoDevFiles') or visible_devices.strip().startswith('-')
  )


def _nvidia_devices() -> list[str]:
  """The files by which JAX knows that there is a driver; without one it does not try."""
  return [f for f in ('/dev/nvidia0', '/dev/nvidiactl', '/dev/dxg') if os.path.exists(f)]


def _tpu_devices() -> list[str]:
  """The files of TPUs: those up to v4 have a driver, later ones are passed through by VFIO."""
  if found := glob.glob('/dev/accel[0-9]*'):
    return found
  for device in _PCI.glob('*'):
    try:
      vendor, driver = (device / 'vendor').read_text().strip(), (device / 'driver').resolve().name
    except OSError:
      continue
    if (vendor, driver) == (_GOOGLE, 'vfio-pci'):  # Google's network cards have other drivers
      return [str(device)]
  return []


def _plugins() -> set[str]:
  """The names of JAX's plugins, as JAX finds them."""
  names = {entry.name for entry in importlib.metadata.entry_points(group='jax_plugins')}
  if spec := importlib.util.find_spec('jax_plugins'):
    for folder in spec.submodule_search_locations or ():
      names |= {path.name for path in pathlib.Path(folder).glob('*') if path.is_dir()}
  return names | {os.environ.get('PJRT_NAMES_AND_LIBRARY_PATHS', '')}


def _gpu_name() -> str:
  """What JAX calls a GPU here: 'cuda', or 'rocm' where only AMD's plugin is installed."""
  plugins = _plugins()
  only_rocm = any('rocm' in p for p in plugins) and not any('cuda' in p for p in plugins)
  return 'rocm' if only_rocm else 'cuda'


def _loads(library: str) -> bool:
  try:
    ctypes.CDLL(library)
  except OSError:
    return False
  return True
