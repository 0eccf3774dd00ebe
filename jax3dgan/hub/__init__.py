"""Trained models for others: a folder with a card, here or on the Hugging Face Hub.

  from jax3dgan import hub, trained

  model = trained.load(workdir='runs/celeba')
  hub.save_pretrained(model, 'celeba-pigan', license='cc-by-nc-4.0', notes='...')
  hub.push_to_hub(model, 'user/celeba-pigan', license='cc-by-nc-4.0', notes='...')
  model = trained.from_pretrained('celeba-pigan')  # or 'user/celeba-pigan'

The folder holds `config.json`, `model.safetensors` (the moving average of the generator alone),
`README.md`, which is the card, and `samples.png`. Every app takes it, or the name: `--pretrained`.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Mapping

import numpy as np

from jax3dgan import atomic
from jax3dgan.errors import UserError
from jax3dgan.hub import card
from jax3dgan.pictures import sheets
from jax3dgan.runs import hub_files, model_folders

__all__ = ['push_to_hub', 'save_pretrained']

_SEEDS = range(4)  # of the pictures; each is shown from several sides


def save_pretrained(
  model,
  folder,
  *,
  name: str | None = None,
  notes: str = '',
  license: str | None = None,
  data: str = '',
  data_license: str = '',
  face_model_license: str = '',
  limits: str = '',
  metrics: Mapping | None = None,
  dtype=np.float32,
  pictures: bool = True,
  resolution: int | None = None,
) -> pathlib.Path:
  """Writes a trained model as a folder that `trained.from_pretrained` reads.

  Paths of the machine that trained are left out of the config.

  Args:
    model: A `trained.Trained`.
    folder: Made where it is not there; files of the same names are replaced.
    name: What to call it; the model's own by default.
    notes: How it was trained, for the card.
    license: Of the weights, by the hub's identifiers: 'apache-2.0', 'cc-by-nc-4.0', 'mit', ...;
      None where it is not decided, which the card says.
    data, data_license: What it was trained on, and under which terms, as text.
    face_model_license: Of the face model whose arrays are among the generator's buffers
      (`Generator.user_buffers`), as text: they are written too. Needed where there are any.
    limits: What it cannot do, as text, beside what follows from its config.
    metrics: What `--mode=eval` wrote, the content of `eval/STEP/metrics.json`.
    dtype: Of the weights; float16 halves the file.
    pictures: Whether `samples.png` is rendered.
    resolution: Of these pictures, pixels on a side; that of training by default.

  Returns:
    The folder.

  Raises:
    UserError: The folder is that of a run, the metrics are of another step, the licence of a face
      model is missing, or `safetensors` is not installed.
  """
  if name is not None:
    model = dataclasses.replace(model, name=name)
  _check_face_model(model, face_model_license)
  if metrics is not None and metrics.get('step') != model.step:
    raise UserError(
      f'The metrics are of step {metrics.get("step")}, and the model is of step {model.step}. Give '
      'those of the same checkpoint: eval/STEP/metrics.json.'
    )
  folder = model_folders.write(model, folder, notes, dtype)
  if pictures:
    sheets.write(model, folder / card.PICTURE, _SEEDS, resolution=resolution)
  text = card.write(
    model,
    notes=notes,
    license_id=license,
    data=data,
    data_license=data_license,
    face_model_license=face_model_license,
    limits=limits,
    metrics=metrics,
    picture=pictures,
  )
  atomic.write(folder / card.FILE, text.encode())
  return folder


def push_to_hub(
  model, repo: str, *, private: bool | None = None, message: str = '', **fields
) -> str:
  """Uploads a trained model to the Hugging Face Hub; returns its address.

  Args:
    model: A `trained.Trained`.
    repo: 'user/model'; made unless it is there.
    private: Whether a new repository is private; None for the account's default.
    message: Of the commit.
    **fields: Of `save_pretrained`.

  Raises:
    UserError: As `save_pretrained`, or the hub cannot be reached or refuses.
  """
  hub_files.require()  # before anything is rendered
  hub_files.check_new_name(repo)
  fields.setdefault('name', repo.rpartition('/')[2])
  with tempfile.TemporaryDirectory() as scratch:
    folder = save_pretrained(model, pathlib.Path(scratch) / 'model', **fields)
    message = message or f'{fields["name"]}, step {model.step:,}'
    return hub_files.upload(folder, repo, private, message)


def _check_face_model(model, face_model_license: str) -> None:
  """UserError where a face model would go out without its licence."""
  names = model.generator.user_buffers
  if names and not face_model_license:
    raise UserError(
      f'The face model that {model.name} was given is among its buffers ({", ".join(names)}) and '
      'would be published with it. Ask whether its licence allows that, and give it: '
      "face_model_license='mit', which the card names."
    )
  if face_model_license and not names:
    raise UserError(f'{model.name} has no face model in it. Leave out face_model_license.')
