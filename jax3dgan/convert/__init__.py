"""Official PyTorch checkpoints: read without PyTorch and without running anything in them.

  from jax3dgan import convert

  tree = convert.read('generator.pth')  # dicts, lists, numbers; Objects instead of instances
  weights = convert.state_dict(tree)  # {official name: array}

`python -m jax3dgan.convert --help` makes a workdir of π-GAN's or EG3D's files, and the reverse.
"""

from jax3dgan.convert import persistent, pigan, torchfile
from jax3dgan.convert.modules import state_dict
from jax3dgan.convert.tensors import Tensor
from jax3dgan.convert.values import Bytes, Global, Object

__all__ = ['CLASSES', 'Bytes', 'Global', 'Object', 'Tensor', 'read', 'state_dict']

# Class names in the files of the supported releases.
CLASSES = (*pigan.CLASSES, *persistent.CLASSES)


def read(path, classes=CLASSES):
  """The tree of a checkpoint, see `torchfile.read`.

  Args:
    path: A file of torch.save or a pickle with tensors.
    classes: Patterns of the class names that it may mention besides PyTorch's own layers; those of
      the releases that are converted here.
  """
  return torchfile.read(path, classes)
