"""Files of TensorFlow Datasets (TFDS), fetched at need; if that fails, one line with a remedy."""

import contextlib
import logging
import os
import re
import sys
import urllib.parse

from jax3dgan.data import images
from jax3dgan.errors import UserError

SCHEME = 'tfds:'
# TFDS itself waits without a limit for a silent server, and retries a dead one for minutes.
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
_TRIES = 3


def tfrecord_files(source, split='train', places=(None,), resolution=64) -> list[str]:
  """The TFRecord files of a TFDS data set, which is fetched at need.

  Args:
    source: 'tfds:NAME'.
    split: a whole split.
    places: folders of TFDS's data in which it may be already; None for TFDS's own choice. It is
      fetched into the last one.
    resolution: of the shards that are wanted, for messages.

  Raises:
    UserError: there is no such data set, or it cannot be fetched; the message says how to bring
      its images.
  """
  name = source.removeprefix(SCHEME)
  try:
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise UserError(
      f'{source} needs tensorflow and tensorflow-datasets, which are not installed ({error}). '
      f'Install them. {_by_hand(name, resolution)}'
    ) from error
  try:
    with _quiet():
      for place in places:
        builder = tfds.builder(name, data_dir=place)
        if is_there := builder.is_prepared():
          break
  except (tfds.core.DatasetNotFoundError, ValueError, ImportError) as error:
    raise UserError(
      f'TFDS cannot open {name!r}: {_first_line(error)} Look the name up in the catalogue of TFDS.'
    ) from error
  if not is_there:
    _fetch(builder, name, resolution)
  splits = builder.info.splits
  if split not in splits:
    raise UserError(f'{source} has no split {split!r}. Choose one of {", ".join(splits)}.')
  file_format = builder.info.file_format
  if file_format is not None and file_format.value != 'tfrecord':
    raise UserError(f'{source} is stored as {file_format.value}. Prepare it in TFDS as tfrecord.')
  return [os.fspath(path) for path in splits[split].filepaths]


def _fetch(builder, name, resolution):
  print(f'{SCHEME}{name}: TFDS fetches it into {builder.data_dir}', file=sys.stderr, flush=True)
  try:
    with _impatient():
      builder.download_and_prepare(file_format='tfrecord')
  except Exception as error:  # whatever a download, an archive or a builder can raise
    request = getattr(error, 'request', None)  # of requests' errors, which repeat themselves
    host = request is not None and urllib.parse.urlsplit(request.url).hostname
    cause = f'{host} cannot be reached' if host else _first_line(error)[:200].rstrip('.')
    raise UserError(f'TFDS cannot fetch {name}: {cause}. {_by_hand(name, resolution)}') from error


@contextlib.contextmanager
def _impatient():
  """Gives the requests of TFDS time limits, and fewer tries."""
  import requests
  from tensorflow_datasets.core.download import downloader

  adapter = requests.adapters.HTTPAdapter
  send, tries = adapter.send, downloader.MAX_RETRIES

  def limited(self, request, **options):
    options['timeout'] = options.get('timeout') or (_CONNECT_SECONDS, _READ_SECONDS)
    return send(self, request, **options)

  # It warns at each try, also in threads that run on for a moment after the error.
  logging.getLogger('urllib3.connectionpool').setLevel(logging.ERROR)
  adapter.send, downloader.MAX_RETRIES = limited, _TRIES
  try:
    yield
  finally:
    adapter.send, downloader.MAX_RETRIES = send, tries


@contextlib.contextmanager
def _quiet():
  """Suppresses the warnings of TFDS that one of the folders does not exist."""
  logger = logging.getLogger('absl')
  level = logger.level
  logger.setLevel(logging.ERROR)
  try:
    yield
  finally:
    logger.setLevel(level)


def _by_hand(name, resolution):
  """How to bring the images of a data set oneself."""
  if name.startswith('celeb_a'):
    images_of, out = 'img_align_celeba.zip', f'data/celeba{resolution}'
    get = f'Download {images_of} yourself (the CelebA project; its downloads have a daily quota)'
  else:
    images_of, out = 'IMAGES', f'data/{re.split("[:/]", name)[0]}{resolution}'
    get = f'Get its images yourself, as a folder or a zip {images_of}'
  crop = images.default_crop(name)
  flag = '' if crop == 'centre' else f' --crop={crop}'
  return (
    f'{get}, run python -m jax3dgan.data.prepare --source={images_of} --out={out} '
    f'--resolution={resolution}{flag} and set --config.data.source={out}.'
  )


def _first_line(error):
  return (str(error).strip().splitlines() or [type(error).__name__])[0]
