"""Files that want to run, to swell or to confuse, and the line each is refused with.

`python -m tests.convert.hostile` prints the table of docs/convert.md, and with the argument eg3d
that of EG3D's pickles (`hostile_eg3d`). It runs under limits of memory and of processor time, which
no case may reach.
"""

import contextlib
import dataclasses
import gzip
import io
import pathlib
import resource
import struct
import sys
import tarfile
import tempfile
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from crafted import (  # noqa: E402  beside this file, also where it is run as a module
  EMPTY,
  FLOATS,
  archive,
  call,
  entries,
  entry,
  module,
  name,
  number,
  numbers,
  pickled,
  storage,
  tensor,
  text,
  torch_row,
  torch_zip,
)

CANARY = 'CANARY'
# What a pickle runs here: it leaves a file, which the tests look for.
TOUCH = f'touch {CANARY}'
WRITE = f"open('{CANARY}', 'w').write('run')"
WEIGHT = torch_zip(pickled(entries(weight=tensor())), s0=FLOATS)
MEMORY, SECONDS = 2 * 2**30, 120


@dataclasses.dataclass(frozen=True)
class Case:
  """A file: what to call it, what it tries, its bytes (made late: some are large)."""

  name: str
  tries: str
  make: Callable[[], bytes]


CASES = []


def case(name: str, tries: str):
  """Registers the function below."""

  def register(make):
    CASES.append(Case(name, tries, make))
    return make

  return register


def simple(name: str, tries: str, data: Callable[[], bytes] | bytes):
  """Registers bytes."""
  CASES.append(Case(name, tries, data if callable(data) else lambda: data))


# Code.

simple('os-system', 'run a command', lambda: pickled(call('os', 'system', text(TOUCH))))
simple(
  'os-system-in-zip',
  'the same in a zip',
  lambda: torch_zip(pickled(call('posix', 'system', text(TOUCH)))),
)
simple(
  'os-system-in-row',
  'the same in an old file',
  lambda: torch_row(pickled(call('nt', 'system', text(TOUCH)))),
)
simple('eval', 'evaluate Python', lambda: pickled(call('builtins', 'eval', text(WRITE))))
simple(
  'exec-2',
  'execute Python, by its old name',
  lambda: pickled(call('__builtin__', 'exec', text(WRITE))),
)
simple(
  'import', 'import a module', lambda: pickled(call('builtins', '__import__', text('antigravity')))
)
simple(
  'popen',
  'start a process by NEWOBJ',
  lambda: pickled(name('subprocess', 'Popen'), b'(', text('touch'), text(CANARY), b'l\x85\x81'),
)
simple('inst', 'run a command by INST', f"(S'{TOUCH}'\nios\nsystem\n.".encode())
simple(
  'obj', 'run a command by OBJ', lambda: pickled(b'(', name('os', 'system'), text(TOUCH), b'o')
)
simple(
  'stack-global',
  'a name put together on the stack',
  lambda: b'\x80\x04' + text('o' + 's') + text('system') + b'\x93' + text(TOUCH) + b'\x85R.',
)
simple('protocol-0', 'a command in the oldest protocol', f"cos\nsystem\n(S'{TOUCH}'\ntR.".encode())
simple(
  'getattr',
  'reach a function through getattr',
  lambda: pickled(
    call('builtins', 'getattr', name('torch.nn.modules.module', 'Module'), text('os'))
  ),
)
simple('operator', 'attrgetter', lambda: pickled(call('operator', 'attrgetter', text('system'))))
simple(
  'partial',
  'functools.partial',
  lambda: pickled(call('functools', 'partial', name('torch', 'Size'))),
)
simple(
  'numpy-load', 'a file within the file', lambda: pickled(call('numpy', 'load', text('x.npy')))
)
simple('torch-load', 'another checkpoint', lambda: pickled(call('torch', 'load', text('x.pth'))))
simple(
  'torch-hub',
  'code from the network',
  lambda: pickled(call('torch.hub', 'load', text('a/b'), text('c'))),
)
simple(
  'dotted-name',
  'a function behind an allowed class',
  lambda: b'\x80\x04' + text('siren.siren') + text('X.__init__.__globals__') + b'\x93.',
)
simple(
  'look-alike',
  'a module whose name begins as an allowed one',
  lambda: pickled(call('siren.siren_evil', 'run')),
)
simple(
  'inner-storage',
  'a command in the pickle of a storage',
  lambda: pickled(
    name('torch.storage', '_load_from_bytes'),
    b'B',
    struct.pack('<I', len(INNER)),
    INNER,
    b'\x85R',
  ),
)
INNER = pickled(call('os', 'system', text(TOUCH)))
simple('state', 'a command as the state of a list', lambda: pickled(b']', text(TOUCH), b'b'))
simple('extension', 'a name from the registry of extensions', b'\x80\x02\x82\x01.')
simple('persistent-text', 'a persistent id as text', b'\x80\x02Posystem\n.')
simple(
  'codec',
  'a codec that unpacks',
  lambda: pickled(call('_codecs', 'encode', text('x'), text('zip'))),
)
simple(
  'persistent-object',
  'source code that its own hook would run',
  lambda: pickled(call('torch_utils.persistence', '_reconstruct_persistent_obj', text(WRITE))),
)

# Pickles that swell.


@case('nested-tuples', '100,000 tuples in each other')
def nested_tuples():
  return pickled(b')', b'\x85' * 100_000)


@case('nested-lists', '100,000 lists in each other')
def nested_lists():
  return pickled(b']' * 100_000, b'a' * 99_999)


@case('nested-keys', 'a dict with a key of 100,000 tuples')
def nested_keys():
  return pickled(b'})', b'\x85' * 100_000, b'Ns')


@case('self', 'a list inside of itself')
def self():
  return pickled(b']q\x00h\x00a')


simple('open-brackets', '100,000 brackets that do not close', lambda: pickled(b'(' * 100_000))


@case('billion-laughs', 'lists of lists, 2^100 when printed')
def billion_laughs():
  return pickled(b']q\x000', b'](h\x00h\x00eq\x000' * 100, b'h\x00')


@case('opcodes', '2,000,000 opcodes')
def opcodes():
  return pickled(b'N0' * 1_000_000, b'N')


@case('sets', '900,000 empty sets')
def sets():
  return pickled(b'](', b'\x8f' * 900_000, b'e')


@case('copies', 'a set of a long list, a thousand times')
def copies():
  items = b''.join(number(i) for i in range(100_000))
  return pickled(b'](', items, b'e\x85q\x00', (name('builtins', 'set') + b'h\x00R0') * 1_000, b'N')


@case('colliding-keys', 'whole numbers with one hash')
def colliding_keys():
  return pickled(b'}(', b''.join(number(i * (2**61 - 1)) + b'N' for i in range(10_000)), b'u')


simple('long-text', 'a text of 2^62 bytes', b'\x80\x04\x8d' + struct.pack('<Q', 2**62) + b'x.')
simple(
  'long-number', 'a number of 2^31 bytes', b'\x80\x02\x8b' + struct.pack('<i', 2**31 - 1) + b'.'
)
simple('digits', 'a number of 1,000,000 digits', b'\x80\x02L' + b'9' * 1_000_000 + b'L\n.')
simple('memo', 'place 2^32 - 1 of the memo', b'\x80\x02Nr\xff\xff\xff\xff.')

# Tensors.


def one_tensor(*args, **fields) -> Callable[[], bytes]:
  """A zip with a tensor that is wrong."""
  return lambda: torch_zip(pickled(entries(weight=tensor(*args, **fields))), s0=FLOATS)


simple('beyond', 'read behind a storage', one_tensor(1))
simple('strided-beyond', 'the same by a stride', one_tensor(0, (2,), (4,)))
simple('negative-stride', 'read before a storage', one_tensor(3, (4,), (-1,)))
simple('negative-offset', 'the same by an offset', one_tensor(-1))
simple('overflow', 'sizes whose product overflows', one_tensor(0, (2**33, 2**33), (0, 0)))
simple('axes', '1,000 axes', one_tensor(0, (1,) * 1_000, (1,) * 1_000))
simple('expanded', '40 GB by a stride of 0', one_tensor(0, (10**10,), (0,)))


@case('expanded-often', '10,000 views of 40 kB')
def expanded_often():
  views = b''.join(text(str(i)) + tensor(0, (10_000,), (0,)) for i in range(10_000))
  return torch_zip(pickled(b'}(', views, b'u'), s0=FLOATS)


simple('long-storage', 'a storage of 4 TB', one_tensor(of=storage(size=10**12)))
simple(
  'short-storage', 'a storage that is longer in the file', one_tensor(0, (2,), of=storage(size=2))
)
simple('lost-storage', 'a storage that is not there', one_tensor(of=storage('7')))
simple('storage-path', 'a storage outside of the file', one_tensor(of=storage('../../x')))
simple(
  'two-types',
  'a storage as two types',
  lambda: torch_zip(
    pickled(entries(a=tensor(), b=tensor(of=storage(cls='IntStorage')))), s0=FLOATS
  ),
)
simple('storage-class', 'a class that is no storage', one_tensor(of=storage(cls='float32')))
simple(
  'no-storage',
  'a tensor of a number',
  lambda: pickled(
    call('torch._utils', '_rebuild_tensor_v2', number(1), number(0), numbers((1,)), numbers((1,)))
  ),
)

# Zip.


@case('zip-bomb', '200 MB of zeros in 200 kB')
def zip_bomb():
  return torch_zip(
    pickled(entries(weight=tensor(of=storage(size=50_000_000)))),
    entry('m/data/0', bytes(200_000_000), method=8),
  )


simple(
  'two-entries', 'two pickles of one name', lambda: torch_zip(EMPTY, entry('m/data.pkl', EMPTY))
)
simple('parent', 'an entry above the archive', lambda: torch_zip(EMPTY, entry('m/../../x', b'x')))
simple('absolute', 'an entry at /etc', lambda: torch_zip(EMPTY, entry('/etc/x', b'x')))
simple('encrypted', 'an encrypted entry', lambda: torch_zip(EMPTY, entry('m/x', b'x', flags=1)))
simple('checksum', 'a wrong checksum', lambda: archive([entry('m/data.pkl', EMPTY, crc=1)]))
simple(
  'other-name',
  'an entry under two names',
  lambda: torch_zip(EMPTY, entry('m/x', b'x', local='m/y')),
)
simple(
  'same-place',
  'two entries in one place',
  lambda: torch_zip(EMPTY, dict(entry('m/data.pkl', EMPTY), at=0)),
)


@case('overlap', 'an entry inside another')
def overlap():
  inner = archive([entry('m/data/1', FLOATS)])
  first = archive([entry('m/data/0', inner)])
  at = first.index(inner)
  return archive(
    [entry('m/data/0', inner), dict(entry('m/data/1', FLOATS), at=at), entry('m/data.pkl', EMPTY)]
  )


simple('zip-cut', 'the second half is missing', lambda: WEIGHT[: len(WEIGHT) // 2])
simple(
  'zip-directory',
  'a directory that points elsewhere',
  lambda: WEIGHT.replace(b'PK\x01\x02', b'PK\x01\x03', 1),
)
simple('zip-head', 'one archive in front of another', lambda: torch_zip(EMPTY) + WEIGHT)
simple('zip-tail', 'something behind the archive', lambda: WEIGHT + b'\0' * 100)
simple(
  'zip-storage-cut',
  'a storage behind the end',
  lambda: torch_zip(EMPTY, entry('m/data/0', FLOATS, size=10**9)),
)
simple(
  'byteorder', 'numbers the other way round', lambda: torch_zip(EMPTY, entry('m/byteorder', b'big'))
)
simple(
  'torchscript', 'a program of TorchScript', lambda: archive([entry('m/constants.pkl', EMPTY)])
)
simple(
  'two-pickles',
  'a second pickle behind the first',
  lambda: torch_zip(EMPTY + pickled(call('os', 'system', text(TOUCH)))),
)


@case('zip-many', 'a directory of 400,000 entries')
def zip_many():
  one = dict(entry('m/x'), at=0)
  return archive([entry('m/data.pkl', EMPTY)] + [one] * 400_000)


# Old files.

ROW = pickled(entries(weight=tensor()))
simple('row-version', 'another version', lambda: torch_row(ROW, version=1002))
simple('row-endian', 'numbers the other way round', lambda: torch_row(ROW, little_endian=False))
simple('row-size', 'another size of a storage', lambda: torch_row(ROW, rows=((3, FLOATS),)))
simple('row-negative', 'a negative size', lambda: torch_row(ROW, rows=((-4, FLOATS),)))
simple('row-cut', 'a storage that ends early', lambda: torch_row(ROW)[:-1])
simple('row-keys', 'a storage that nothing needs', lambda: torch_row(ROW, keys=('0', '1')))
simple('row-twice', 'a storage twice', lambda: torch_row(ROW, keys=('0', '0')))
simple('row-tail', 'something behind the end', lambda: torch_row(ROW) + b'x')
simple(
  'row-part',
  'a part beyond its storage',
  lambda: torch_row(
    pickled(tensor(of=storage(more=b'(' + text('v') + number(2) + number(3) + b't')))
  ),
)

# Pickles that are none.

simple('stack', 'take from an empty stack', b'\x80\x02R.')
simple('protocol', 'protocol 77', b'\x80\x4d}.')
simple('no-end', 'no end', b'\x80\x02}')
simple('frame', 'a frame of 2^60 bytes', b'\x80\x04\x95' + struct.pack('<Q', 2**60) + b'}.')
simple('two-stops', 'a second end', EMPTY + b'.')
simple('two-values', 'two values', b'\x80\x02NN.')
simple('unhashable', 'a dict with a list as a key', b'\x80\x02}]Ns.')

# Other files.

simple('empty', 'nothing', b'')
simple('web-page', 'a page instead of the file', b'<!DOCTYPE html><title>Quota exceeded</title>')
simple('lfs', 'a pointer instead of the file', b'version https://git-lfs.github.com/spec/v1\n')
simple('gzip', 'a packed file', lambda: gzip.compress(EMPTY, mtime=0))
simple('npz', 'another kind of zip', lambda: archive([entry('x/a.npy', b'')]))


@case('tar', 'a tar')
def tar():
  out = io.BytesIO()
  with tarfile.open(fileobj=out, mode='w') as file:
    file.addfile(tarfile.TarInfo('storages'))
  return out.getvalue()


# Trees that are no models.

simple('no-weights', 'a dict without weights', b'\x80\x02}X\x01\x00\x00\x00aNs.')
simple('wrong-weights', 'weights of another model', WEIGHT)


@case('cycle', 'a module inside of itself')
def cycle():
  inner = entries(_modules=entries(a=b'h\x00'), _parameters=b'}')
  return pickled(name('siren.siren', 'X') + b')\x81q\x00' + inner + b'b')


@case('diamonds', 'modules that lie twice in each other, 2^60 names')
def diamonds():
  levels = (module('X', modules=entries(a=b'h\x00', b=b'h\x00')) + b'q\x000' for _ in range(60))
  return pickled(module('X'), b'q\x000', *levels, b'h\x00')


@case('shared-weights', '20,000 names for one tensor: 80 GB as float32')
def shared_weights():
  names = b''.join(text(str(i)) + b'h\x00' for i in range(20_000))
  whole = tensor(0, (10**6,), (1,), of=storage(size=10**6, cls='HalfStorage'))
  program = whole + b'q\x000' + module('X', parameters=b'}(' + names + b'u')
  return torch_zip(pickled(program), s0=bytes(2 * 10**6))


@case('many-layers', 'a generator of 1,000 layers, which takes long to compile')
def many_layers():
  shapes = official_shapes(num_layers=1_000)
  parts = [
    text(key) + tensor(0, shape, strides_of(shape), of=storage(size=64))
    for key, shape in shapes.items()
  ]
  return torch_zip(pickled(b'}(', *parts, b'u'), s0=bytes(256))


def official_shapes(**sizes):
  from jax3dgan.convert import official

  fixed = dict(z_dim=1, hidden_dim=1, mapping_dim=1, mapping_layers=1)
  shapes = official._shapes({**fixed, **sizes})
  # All but the last of the mapping network fit into a storage of 64.
  return {key: shape for key, shape in shapes.items() if shape[0] <= 64}


def strides_of(shape):
  return (shape[1], 1) if len(shape) == 2 else (1,)


@case('bad-name', 'a weight whose name clears the screen')
def bad_name():
  return torch_zip(
    pickled(module('X', parameters=b'}' + text('\x1b[2J\n') + tensor() + b's')), s0=FLOATS
  )


def refuse(one: Case, folder: pathlib.Path) -> str:
  """Reads the file as the command line does; the error's line, the file's name without its folder.

  Raises AssertionError where the file is not refused.
  """
  from jax3dgan.convert import official
  from jax3dgan.errors import UserError

  path = folder / f'{one.name}.pth'
  path.write_bytes(one.make())
  with contextlib.chdir(folder):
    try:
      official.read_generator(path.name, 'spatial')
    except UserError as error:
      return str(error)
  raise AssertionError(f'{one.name} is not refused')


def table(cases=CASES, refuse=refuse) -> str:
  """A table of docs/convert.md."""
  rows = ['| file | tries | is refused with |', '|---|---|---|']
  with tempfile.TemporaryDirectory() as folder:
    for one in cases:
      line = refuse(one, pathlib.Path(folder)).replace('|', '\\|').replace('<', '&lt;')
      rows.append(f'| {one.name} | {one.tries} | {line} |')
    if (pathlib.Path(folder) / CANARY).exists():
      raise AssertionError('a file was executed')
  return '\n'.join(rows)


if __name__ == '__main__':
  resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
  resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
  if sys.argv[1:] == ['eg3d']:
    import hostile_eg3d

    print(table(hostile_eg3d.CASES, hostile_eg3d.refuse))
  else:
    print(table())
