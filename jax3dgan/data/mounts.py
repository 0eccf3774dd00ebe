"""Whether a path lies on a disk of this machine, by the kind of its file system."""

import os

# All others count as remote: those of a network (nfs4, cifs, lustre, ceph, ...), of a bucket
# (fuse.gcsfuse), of a virtual machine's host (9p, virtiofs).
_LOCAL = frozenset(
  'apfs bcachefs btrfs ext2 ext3 ext4 f2fs hfs ntfs ntfs3 overlay overlayfs ramfs tmpfs vfat xfs '
  'zfs'.split()
)
_TABLE = '/proc/self/mountinfo'


def kind(path) -> str:
  """The kind of the file system that a path lies on, such as 'ext4'; '' where it is not known."""
  if '://' in os.fspath(path):
    return 'bucket'
  path = os.path.realpath(path)
  found, longest = '', ''
  try:
    with open(_TABLE, encoding='utf-8', errors='replace') as file:
      lines = file.read().splitlines()
  except OSError:
    return ''
  for line in lines:
    mount, _, source = line.partition(' - ')
    # Spaces in a path are written in octal.
    point = mount.split(' ')[4].replace('\\040', ' ')
    below = path == point or path.startswith(point.rstrip('/') + '/')
    if below and len(point) >= len(longest):  # of mounts in one place the last one counts
      found, longest = source.split(' ')[0], point
  return found


def is_remote(path) -> bool:
  """Whether reads of a path may take long: of a network, or where that is not known."""
  return kind(path) not in _LOCAL
