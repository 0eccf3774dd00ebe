"""Constructors that any pickle may call: dicts, sets and bytes, with bounded work."""

from collections import OrderedDict

from jax3dgan.convert.values import HOSTILE, show


def _ordered_dict(m, args):
  pairs = args[0] if len(args) == 1 and isinstance(args[0], list) else args
  m.spend(len(pairs))
  result = OrderedDict()
  for pair in pairs:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
      raise m.error('an OrderedDict of what are no pairs', HOSTILE)
    result[m.key(pair[0])] = pair[1]
  return result


def _set(kind):
  def make(m, args):
    if len(args) > 1 or not all(isinstance(arg, list | tuple) for arg in args):
      raise m.error('a set of what is no list', HOSTILE)
    m.spend(sum(map(len, args)))
    return kind(m.key(item) for arg in args for item in arg)

  return make


def _encode(m, args):
  """Bytes in the older protocols: a text to be encoded in Latin-1."""
  match args:
    case (str(text), 'latin1' | 'latin-1'):
      m.spend(len(text) // 256)
      try:
        return text.encode('latin-1')
      except UnicodeEncodeError:
        raise m.error(f'{show(text)} is no Latin-1') from None
  raise m.error('a use of _codecs.encode for other than bytes', HOSTILE)


def _no_bytes(m, args):
  """b'' in the older protocols."""
  if args:
    raise m.error('bytes of something', HOSTILE)
  return b''


# Constructors for any pickle. A call may be repeated on one argument, so they `spend`.
CONSTRUCTORS = {
  ('collections', 'OrderedDict'): _ordered_dict,
  ('_codecs', 'encode'): _encode,
} | {
  (module, name): make
  for module in ('builtins', '__builtin__')  # the latter in protocols before 3
  for name, make in (('set', _set(set)), ('frozenset', _set(frozenset)), ('bytes', _no_bytes))
}
