"""The files of a model on the Hugging Face Hub: downloads and uploads, by the package
`huggingface_hub`, an optional extra. Its own settings hold: HF_TOKEN, HF_HOME, HF_HUB_OFFLINE,
HF_ENDPOINT for a mirror.
"""

import os
import pathlib
import re

from jax3dgan.errors import UserError, first_line
from jax3dgan.runs import model_folders

_NAME = re.compile(r'(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?')
_WITH_CLASSES = ('recipe', 'model', 'discriminator')  # what of a config may name classes


def is_name(text: str) -> bool:
  """Whether a text is 'user/model' or 'user/model@revision'."""
  return _NAME.fullmatch(text) is not None


def download(name: str) -> pathlib.Path:
  """Fetches a model's config and weights, or finds them in the cache; returns their folder.

  Args:
    name: 'user/model', or 'user/model@revision' of a branch, tag or commit.

  Raises:
    UserError: there is no such model, the hub cannot be reached, or the config names a class of
      another package, whose code would run.
  """
  library = require()
  match = _NAME.fullmatch(name)
  repo, revision = match['repo'], match['revision']
  try:
    for file in (model_folders.CONFIG, model_folders.WEIGHTS):
      path = library.hf_hub_download(repo, file, revision=revision, endpoint=_endpoint())
      revision = pathlib.Path(path).parent.name  # the commit: both files are of the same one
  except Exception as error:  # a dozen kinds, also of the library's own transport
    raise UserError(_why_not(name, error)) from error
  folder = pathlib.Path(path).parent
  _check_classes(name, folder)
  return folder


def upload(folder, repo: str, private: bool | None, message: str) -> str:
  """Makes a repository unless it is there, and commits a folder to it; returns its address.

  Raises:
    UserError: the hub cannot be reached, or refuses.
  """
  library = require()
  check_new_name(repo)
  try:
    api = library.HfApi(endpoint=_endpoint())
    api.create_repo(repo, private=private, exist_ok=True)
    api.upload_folder(repo_id=repo, folder_path=str(folder), commit_message=message)
  except Exception as error:
    raise UserError(
      f"'{repo}' cannot be written on the hub ({first_line(error)}). Log in with hf auth login, "
      'or set HF_TOKEN to a token that may write.'
    ) from error
  return f'{api.endpoint}/{repo}'


def check_new_name(repo: str) -> None:
  """UserError where nothing can be uploaded under a name."""
  if not is_name(repo) or '@' in repo:
    raise UserError(f"'{repo}' is no name of a model on the hub. Give 'user/model'.")


def require():
  """The package `huggingface_hub`; UserError where it is missing."""
  try:
    import huggingface_hub
  except ImportError:
    raise UserError(
      'Models of the Hugging Face Hub need the package huggingface_hub. Install it: pip install '
      "'jax3dgan[hub]'."
    ) from None
  return huggingface_hub


def _endpoint() -> str | None:
  return os.environ.get('HF_ENDPOINT')  # asked at each call: the library reads it once


def _why_not(name, error) -> str:
  kinds = {kind.__name__ for kind in type(error).__mro__}
  if 'GatedRepoError' in kinds:
    return (
      f"'{name}' is given to those alone who accept its terms. Accept them on its page on the hub, "
      'then log in with hf auth login.'
    )
  if kinds & {'RepositoryNotFoundError', 'RevisionNotFoundError'}:
    return (
      f"'{name}' is neither a folder here nor a model on the hub that you may read. Mend the name, "
      'or log in with hf auth login.'
    )
  offline = 'LocalEntryNotFoundError' in kinds  # the hub was not asked
  if 'EntryNotFoundError' in kinds and not offline:
    return (
      f"'{name}' on the hub is no model of {model_folders.LIBRARY}: it lacks "
      f'{model_folders.CONFIG} or {model_folders.WEIGHTS}. Name another one.'
    )
  return (
    f"'{name}' is no folder here, and cannot be fetched from the hub ({first_line(error)}). Go "
    'online, or give a folder with its files.'
  )


def _check_classes(name, folder) -> None:
  config = model_folders.facts_of(folder)['config']
  for field, text in _texts({group: config.get(group) for group in _WITH_CLASSES}):
    if ':' in text:  # whatever is before it would be imported
      raise UserError(
        f"'{name}' has {field} = '{text}', a class of another package, which a download may not "
        f'start. Read its code first, then give the folder: {folder}.'
      )


def _texts(value, field: str = ''):
  """(field, text) of all texts in plain values."""
  if isinstance(value, str):
    yield field, value
  elif isinstance(value, dict | list):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
      yield from _texts(item, f'{field}.{key}' if field else str(key))
