"""SeFa of StyleSDF: which weights act on which of its styles."""

import importlib

import jax
import numpy as np
import pytest

from jax3dgan import editing, generators, trained
from jax3dgan.errors import UserError


def model_of(config):
  config = importlib.import_module(f'configs.{config}').get_test_config()
  generator = generators.create(config)
  variables = jax.jit(lambda: generators.init(generator, jax.random.key(0)))()
  return trained.Trained(config, generator, variables, 0, 'tiny')


def test_a_decoder_is_moved_in_its_own_styles():
  model = model_of('stylesdf_toys')
  params, rows = model.params['decoder'], model.generator.style_rows()
  paths = [path for path, _ in jax.tree_util.tree_leaves_with_path({'decoder': params})]
  names = [jax.tree_util.keystr(path, simple=True, separator='/') for path in paths]
  assert set(rows) == {name for name in names if name.endswith('affine/kernel')}
  # The layers of two sizes: to-RGB shares the style of the next size's first.
  assert sorted(rows.values()) == [1, 2, 2, 3, 4] and model.w_shape[0] == 5
  found = editing.sefa(model, count=2, num=8)
  assert not found.vectors[:, 0].any() and found.vectors[:, 1:].any(axis=-1).all()
  with pytest.raises(UserError, match='Layers 0-0 have no weights'):
    editing.sefa(model, layers=(0, 0), num=8)


def test_a_renderer_is_moved_in_its_one_style():
  model = model_of('stylesdf_stage1_toys')
  found = editing.sefa(model, count=2, num=8)
  field = {name: np.asarray(x, np.float64) for name, x in model.params['field'].items()}
  maps = [x for name, x in field.items() if name.endswith(('_gamma_kernel', '_beta_kernel'))]
  growth = lambda n: sum(np.square(n @ x).sum() for x in maps)  # noqa: E731
  first, second = found.vectors
  others = np.random.default_rng(0).normal(size=(20, len(first)))
  others /= np.linalg.norm(others, axis=1, keepdims=True)
  assert growth(first) > growth(second) > 0 and growth(first) > max(map(growth, others))
  with pytest.raises(UserError, match='has one style for all layers'):
    editing.sefa(model, layers=(0, 0), num=8)
