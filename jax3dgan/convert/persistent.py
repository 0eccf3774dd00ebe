"""Pickles of StyleGAN's kind, as EG3D's: {'G': ..., 'D': ..., 'G_ema': ...} of persistent classes.

Such an object is pickled as a call of a hook with a dict: the source code of its module, the name
of its class, its attributes. The hook *executes* the source. Here it is a constructor that keeps
the attributes, and the source as text.
"""

from jax3dgan.convert.values import HOSTILE, Global, Object, show

# Names in such files besides PyTorch's own layers: classes that are not persistent themselves, also
# under the name that their module gets when its source is executed.
CLASSES = (
  'dnnlib.util.EasyDict',
  'training.**',
  'torch_utils.**',
  '_imported_module_*.*',
)
HOOK = ('torch_utils.persistence', '_reconstruct_persistent_obj')
_FIELDS = {'type': str, 'version': int, 'module_src': str, 'class_name': str}


def as_dict(value) -> dict | None:
  """A dict or an EasyDict as a dict; None for anything else."""
  if isinstance(value, Object) and str(value.cls) == 'dnnlib.util.EasyDict':
    value = {} if value.items is None else value.items
  return value if isinstance(value, dict) else None


def _persistent(machine, args) -> Object:
  """An object of a persistent class: attributes as its state, the dict as its one argument."""
  fields = as_dict(args[0]) if len(args) == 1 else None
  if fields is None:
    raise machine.error('a persistent object that is given no dict', HOSTILE)
  for name, kind in _FIELDS.items():
    value = fields.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
      raise machine.error(f'a persistent object whose {name} is {show(value)}', HOSTILE)
  if fields['type'] != 'class':
    raise machine.error(f'a persistent object of the type {show(fields["type"])}', HOSTILE)
  if not fields['class_name'].isidentifier():
    raise machine.error(f'a persistent class {show(fields["class_name"])}', HOSTILE)
  state = as_dict(fields.get('state'))
  if state is None:
    raise machine.error('a persistent object whose state is no dict', HOSTILE)
  return Object(Global(HOOK[0], fields['class_name']), tuple(args), state)


CONSTRUCTORS = {HOOK: _persistent}


def is_checkpoint(tree) -> bool:
  """Whether a tree is that of such a file."""
  return isinstance(tree, dict) and bool({'G', 'G_ema'} & tree.keys())


def is_persistent(value) -> bool:
  """Whether it is an object of a persistent class."""
  return isinstance(value, Object) and value.cls.module == HOOK[0]


def settings(value: Object) -> dict:
  """The keyword arguments of a persistent object's constructor; empty without any."""
  return as_dict(value.attributes().get('_init_kwargs')) or {}
