"""The opcodes of pickles: for each its argument and its effect on `pickles.Machine`.

Omitted, and so refused, are the opcodes of the registry of extensions, of buffers outside of the
pickle, and persistent ids as text, which `torch.save` does not write.
"""

import re
import struct

from jax3dgan.convert.values import HOSTILE, Bytes, show

_MAX_TEXT = 16 * 2**20  # source code of a release is about 100 kB
_MAX_INT_BYTES = 64
_MAX_DIGITS = 150
_MAX_COPIED = 4096  # bytes; more stay in the file

# Arguments: functions of the machine `m`.


def _number(layout: str):
  form = struct.Struct(layout)
  return lambda m: form.unpack(m.take(form.size))[0]


def _size(layout: str, limit: int = 2**63):
  count = _number(layout)

  def read(m):
    size = count(m)
    if not 0 <= size <= limit:
      raise m.error(f'a value of {size:,} bytes', HOSTILE)
    return size

  return read


def _counted(layout: str, limit: int):
  count = _size(layout, limit)
  return lambda m: m.take(count(m))


def _bytes(layout: str):
  count = _size(layout)

  def read(m):
    size = count(m)
    if size <= _MAX_COPIED:
      return m.take(size)
    start = m.pos
    m.skip(size)
    return Bytes(m.data, start, size)

  return read


def _text(layout: str, encoding: str = 'utf-8'):
  read = _counted(layout, _MAX_TEXT)
  return lambda m: m.decode(read(m), encoding)


def _long(layout: str):
  read = _counted(layout, _MAX_INT_BYTES)
  return lambda m: int.from_bytes(read(m), 'little', signed=True)


def _digits(m):
  text = m.line()
  if text in ('00', '01'):
    return text == '01'
  digits = text.removesuffix('L')
  if len(digits) > _MAX_DIGITS or not re.fullmatch('-?[0-9]+', digits):
    raise m.error(f'{show(text)} is no whole number')
  return int(digits)


def _decimal(m):
  text = m.line()
  try:
    return float(text)
  except ValueError:
    raise m.error(f'{show(text)} is no number') from None


def _quoted(m):
  text = m.line()
  if len(text) < 2 or text[0] not in '\'"' or text[-1] != text[0] or '\\' in text:
    raise m.error(f'{show(text)} is no text in quotes')
  return text[1:-1]


def _escaped(m):
  return m.line('raw-unicode-escape')


def _two_lines(m):
  return m.line(), m.line()


# Actions.


def _push(m, value):
  m.push(value)


def _put(m, index):
  m.put(index)


def _get(m, index):
  m.get(index)


def _protocol(m, version):
  if version > 5:
    raise m.error(f'a pickle of protocol {version}')


def _frame(m, size):
  if m.pos + size > m.end:
    raise m.error('the file ends in the middle of a pickle')


def _tuple(size: int):
  def act(m):
    items = [m.stack.pop() for _ in range(size)]
    m.push(tuple(items[::-1]))

  return act


def _dict(m):
  items, result = m.pop_mark(), {}
  m.set_items(result, items)
  m.push(result)


def _add_items(m):
  items, target = m.pop_mark(), m.stack[-1]
  if not isinstance(target, set):
    raise m.error(f'members of a {show(target)}', HOSTILE)
  target.update(m.key(item) for item in items)


def _set_items(m):
  items = m.pop_mark()
  m.set_items(m.stack[-1], items)


def _set_item(m):
  value, key = m.stack.pop(), m.stack.pop()
  m.set_items(m.stack[-1], [key, value])


def _appends(m):
  items = m.pop_mark()
  m.append(m.stack[-1], items)


def _append(m):
  item = m.stack.pop()
  m.append(m.stack[-1], [item])


def _pop(m):
  if m.stack:
    m.stack.pop()
  else:
    m.pop_mark()


def _stack_global(m):
  name, module = m.stack.pop(), m.stack.pop()
  if not isinstance(name, str) or not isinstance(module, str):
    raise m.error('a name that is no text', HOSTILE)
  m.push(m.find(module, name))


def _reduce(m):
  args, function = m.stack.pop(), m.stack.pop()
  m.push(m.make(function, args))


def _new_with_keywords(m):
  keywords, args, cls = m.stack.pop(), m.stack.pop(), m.stack.pop()
  if keywords != {}:
    raise m.error('a class with keyword arguments', HOSTILE)
  m.push(m.make(cls, args))


def _obj(m):
  cls, *args = m.pop_mark() or [None]
  m.push(m.make(cls, tuple(args)))


STOP = ord('.')
# code → (argument or None, action).
OPCODES = {
  code[0]: entry
  for code, entry in {
    b'\x80': (_number('<B'), _protocol),
    b'\x95': (_number('<Q'), _frame),
    b'.': (None, lambda m: None),
    b'N': (None, lambda m: m.push(None)),
    b'\x88': (None, lambda m: m.push(True)),
    b'\x89': (None, lambda m: m.push(False)),
    b'K': (_number('<B'), _push),
    b'M': (_number('<H'), _push),
    b'J': (_number('<i'), _push),
    b'\x8a': (_long('<B'), _push),
    b'\x8b': (_long('<i'), _push),
    b'I': (_digits, _push),
    b'L': (_digits, _push),
    b'F': (_decimal, _push),
    b'G': (_number('>d'), _push),
    b'S': (_quoted, _push),
    b'U': (_text('<B', 'latin-1'), _push),
    b'T': (_text('<i', 'latin-1'), _push),
    b'V': (_escaped, _push),
    b'\x8c': (_text('<B'), _push),
    b'X': (_text('<I'), _push),
    b'\x8d': (_text('<Q'), _push),
    b'C': (_bytes('<B'), _push),
    b'B': (_bytes('<I'), _push),
    b'\x8e': (_bytes('<Q'), _push),
    b'\x96': (_bytes('<Q'), _push),
    b']': (None, lambda m: m.push([])),
    b'}': (None, lambda m: m.push({})),
    b')': (None, lambda m: m.push(())),
    b'\x8f': (None, lambda m: m.push(set())),
    b'(': (None, lambda m: m.mark()),
    b'1': (None, lambda m: m.pop_mark()),
    b'0': (None, _pop),
    b'2': (None, lambda m: m.push(m.stack[-1])),
    b'l': (None, lambda m: m.push(m.pop_mark())),
    b't': (None, lambda m: m.push(tuple(m.pop_mark()))),
    b'd': (None, _dict),
    b'\x91': (None, lambda m: m.push(frozenset(m.key(item) for item in m.pop_mark()))),
    b'\x85': (None, _tuple(1)),
    b'\x86': (None, _tuple(2)),
    b'\x87': (None, _tuple(3)),
    b'a': (None, _append),
    b'e': (None, _appends),
    b's': (None, _set_item),
    b'u': (None, _set_items),
    b'\x90': (None, _add_items),
    b'p': (_digits, _put),
    b'q': (_number('<B'), _put),
    b'r': (_number('<I'), _put),
    b'\x94': (None, lambda m: m.put(len(m.memo))),
    b'g': (_digits, _get),
    b'h': (_number('<B'), _get),
    b'j': (_number('<I'), _get),
    b'c': (_two_lines, lambda m, names: m.push(m.find(*names))),
    b'\x93': (None, _stack_global),
    b'R': (None, _reduce),
    b'\x81': (None, _reduce),
    b'\x92': (None, _new_with_keywords),
    b'i': (_two_lines, lambda m, names: m.push(m.make(m.find(*names), tuple(m.pop_mark())))),
    b'o': (None, _obj),
    b'b': (None, lambda m: m.build()),
    b'Q': (None, lambda m: m.persistent()),
  }.items()
}
