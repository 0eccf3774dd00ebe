"""The faces' true depth and masks against themselves, and a model measured with them."""

import os
import pathlib

import ict_synthetic
import jax
import numpy as np
import pytest

from jax3dgan import cameras, generators, trained
from jax3dgan import config as config_lib
from jax3dgan.data.builders.ict_faces import generate, model
from jax3dgan.evaluation import evaluate, geometry3d, truth
from jax3dgan.inversion import frames

_REAL = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'ict_face_3dmm'


@pytest.fixture(scope='module')
def synthetic(tmp_path_factory):
  """A source whose model is made of ellipsoids."""
  return 'ict:' + ict_synthetic.write(tmp_path_factory.mktemp('model'))


@pytest.fixture(params=['ellipsoids', 'ict'])
def source(request, synthetic):
  """A source: the one above, and the real one where there is a copy of it."""
  if request.param == 'ellipsoids':
    return synthetic
  folder = os.environ.get('ICT_FACE_MODEL') or _REAL
  if not (pathlib.Path(folder) / model.FILE).is_file():
    pytest.skip('no copy of the ICT face model: set ICT_FACE_MODEL to its folder')
  return f'ict:{folder}'


def test_two_views_are_of_one_head(source):
  """What the first camera sees lies where the second sees it, or behind something."""
  (example,) = generate.examples_with_truth(source, 1, 96)
  views = [example, example['second']]
  first, second = (cameras.from_label(view['label'][None]) for view in views)
  points = geometry3d.world_points(first, np.where(example['mask'], example['depth'], 1)[None])
  points = points[:, example['mask']]  # [1, n, 3]
  row, column, distance, front = (x[0] for x in geometry3d.pixel_positions(second, points, 96))
  row, column = np.round(row).astype(int), np.round(column).astype(int)
  inside = front & (np.minimum(row, column) >= 0) & (np.maximum(row, column) < 96)
  seen = views[1]['depth'][row[inside], column[inside]]
  behind = distance[inside] - seen  # inf beside the head; its last pixel may fall beside it
  assert inside.mean() > 0.9 and np.isfinite(seen).mean() > 0.95
  # A pixel is .0064 wide at this distance; surfaces that lean away change by several of it.
  assert (behind[np.isfinite(seen)] > -0.03).mean() > 0.98
  assert (np.abs(behind) < 0.01).mean() > 0.6


def test_the_figures_tell_heads_apart(source):
  examples = generate.examples_with_truth(source, 3)
  depth, mask = (np.stack([e[name] for e in examples]) for name in ('depth', 'mask'))
  own = truth.depth_errors(depth, mask, depth, mask)
  assert own['mask/iou'] == 1 and own['depth/z_mse'] < 1e-12 and own['depth/measured'] == 1
  other = truth.depth_errors(depth[[1, 2, 0]], mask[[1, 2, 0]], depth, mask)
  assert other['mask/iou'] < 0.98 and other['depth/z_mse'] > 0.01
  assert 0.005 < other['depth/absolute'] < 0.3


def test_a_model_with_super_resolution_is_measured(synthetic, monkeypatch):
  """Pictures of 16², truth of 64²: depth is rendered without what makes one size alone."""
  config = config_lib.base_config('eg3d')
  config_lib.set_model(config, 'eg3d', label_dim=25)
  config = config_lib.tiny(config)
  with config.unlocked():
    config.data.update(source=synthetic, use_labels=True)
    config.render.update(radius=2.7, near=2.35, far=3.15, white_back=True)
    config.eval.update(metrics='truth', num_inverted=2)
  network = generators.create(config)
  variables = generators.init(network, jax.random.key(0))
  few = lambda *args, **kwargs: whole(*args, num_steps=2, **kwargs)  # noqa: E731
  whole = truth.measure_by_inversion
  monkeypatch.setattr(truth, 'measure_by_inversion', few)
  # The labels' cameras are its own: no frame is searched.
  monkeypatch.setattr(frames, 'find_frame', None)
  tiny = trained.Trained(config, network, variables, 2, 'tiny')
  results, _ = evaluate.Evaluator(config, lambda line: None).run(tiny)
  values = results['truth'].values
  assert values['frame/yaw_degrees'] == values['frame/mirrored'] == 0
  assert 0 <= values['mask/iou'] <= 1 and 0 <= values['second/mask/iou'] <= 1
  assert np.isfinite([values['inversion/psnr'], values['second/psnr']]).all()
  assert 'compared at 64²' in results['truth'].protocol
