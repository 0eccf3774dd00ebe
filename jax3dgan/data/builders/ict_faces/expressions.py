"""Pictures of people with several expressions each, from one camera and in one light: what a
network that reads expressions is trained on, and what it is measured on."""

import dataclasses
import functools
import os
from typing import NamedTuple

import numpy as np

from jax3dgan.data import workers
from jax3dgan.data.builders.ict_faces import generate, looks, model, scene

TRAIN, HELD_OUT = 2, 3  # streams of people; the data set's splits have those before
_CHUNK = 8


class Pictures(NamedTuple):
  """Of n people, each with m expressions from one camera.

  Attributes:
    images: uint8 [n, m, r, r, 3].
    identity: [n, 100] weights.
    expression: [n, m, e] weights.
    label: [n, 25] cameras.
  """

  images: np.ndarray
  identity: np.ndarray
  expression: np.ndarray
  label: np.ndarray


def training(source, presets, num_people: int, resolution: int, num_workers=None) -> Pictures:
  """People with five expressions each: neutral, two presets of which one is full-blown, one as in
  the data set, and one of two presets together.

  Args:
    source: see `generate.parse`.
    presets: [p, e] weights of full-blown expressions.
    num_people: n.
    resolution: of the pictures, pixels.
    num_workers: processes; by default one for each core.
  """
  return _render(source, TRAIN, presets, num_people, resolution, num_workers)


def held_out(source, presets, num_people: int, resolution: int, num_workers=None) -> Pictures:
  """Other people, neutral and with each full-blown preset; see `training`."""
  return _render(source, HELD_OUT, presets, num_people, resolution, num_workers)


def _render(source, stream, presets, num_people, resolution, num_workers):
  numbers = range(num_people)
  chunks = [numbers[i : i + _CHUNK] for i in range(0, num_people, _CHUNK)]
  num_workers = (num_workers or os.cpu_count() or 1) if num_people > 4 * _CHUNK else 1
  made = []
  render = functools.partial(
    _render_chunk, source, stream, np.asarray(presets, np.float32), resolution
  )
  for part in workers.in_order(render, chunks, num_workers, alone_without='faces'):
    made += part
  return Pictures(*map(np.stack, zip(*made, strict=True)))


def _render_chunk(source, stream, presets, resolution, numbers):
  parsed = generate.parse(source)
  faces = model.load(parsed.folder)
  return [_person(faces, parsed.background, stream, presets, i, resolution) for i in numbers]


def _person(faces: model.FaceModel, background, stream, presets, number, resolution):
  rng = np.random.default_rng([looks.SEED, stream, number])
  look = looks.draw(rng, faces.expression_names, len(faces.identity), background)
  label = looks.camera_label(rng)
  if stream == HELD_OUT:
    moved = presets
  else:
    which = rng.integers(len(presets), size=4)
    strength = rng.beta(1.6, 1.6, size=3).astype(np.float32)
    both = strength[1] * presets[which[2]] + strength[2] * presets[which[3]]
    moved = [presets[which[0]], strength[0] * presets[which[1]], look.expression, both]
  expression = np.concatenate([np.zeros_like(presets[:1]), np.clip(moved, 0, 1)])
  images = [
    scene.Head(faces, dataclasses.replace(look, expression=e)).render(label, resolution)[0]
    for e in expression
  ]
  return np.stack(images), look.identity, expression, label
