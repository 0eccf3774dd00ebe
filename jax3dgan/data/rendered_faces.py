"""Which data are rendered faces, and of which face model: made at first use, or prepared."""

import os

from jax3dgan.data import first_use, records
from jax3dgan.errors import UserError

_MADE_BY = 'ict_faces'  # in the index, see `builders.ict_faces.generate.provenance`


def _index(source: str) -> dict:
  """What the index of a prepared data set says of the faces; {} of other data."""
  try:
    index = records.read_index(source)
  except UserError:
    return {}
  made_by = index.get(_MADE_BY) if index.get('source') == _MADE_BY else None
  return made_by if isinstance(made_by, dict) else {}


def are(source: str) -> bool:
  """Whether a `config.data.source` is rendered faces: ict:FOLDER, or a folder of prepared ones."""
  return source.startswith(first_use.ICT) or bool(_index(source))


def of_config(config, flag: str = '--config.data.source=ict:FOLDER') -> str:
  """`with_model` of the data of a config, and of the face model that it names, if any."""
  return with_model(config.data.source, config.get('expgan', {}).get('face_model', ''), flag)


def with_model(source: str, face_model: str, flag: str) -> str:
  """ict:FOLDER of rendered faces, as `builders.ict_faces.generate.parse` takes it.

  Args:
    source: `config.data.source`.
    face_model: the folder of the face model of prepared faces, whose index says which one it is and
      not where; '' for that of $ICT_FACE_MODEL.
    flag: which names the folder, for messages: '--source=ict:FOLDER'.

  Raises:
    UserError: they are no rendered faces; or prepared ones whose face model is not known.
  """
  if source.startswith(first_use.ICT):
    return source
  index = _index(source)
  if not index:
    raise UserError(
      f'{source} is not rendered from a face model, as {first_use.ICT}FOLDER is. Set {flag}.'
    )
  from jax3dgan.data.builders.ict_faces import model

  folder = face_model or os.environ.get('ICT_FACE_MODEL', '')
  if not folder:
    raise UserError(
      f'{source} is rendered faces, and does not say where their face model is. Set {flag}, or '
      'ICT_FACE_MODEL to its folder.'
    )
  if model.checksum(folder) != index.get('model_sha256'):
    raise UserError(
      f'{source} is rendered from another face model than {folder}. Set {flag}, or ICT_FACE_MODEL '
      'to its folder.'
    )
  return f'{first_use.ICT}{folder}?background={index.get("background", "white")}'
