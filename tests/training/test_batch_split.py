"""How a batch is divided among devices."""

import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import config_files, main
from jax3dgan.errors import UserError
from jax3dgan.tools import split as split_tool
from jax3dgan.training import batch_split, microbatches, schedule

DEVICES = (1, 2, 4, 8, 16, 32)
CONFIGS = sorted(path.stem for path in pathlib.Path(main.__file__).parents[1].glob('configs/*.py'))


@pytest.mark.parametrize('group', [1, 2, 4, 8])
def test_every_division_keeps_its_promises(group):
  """Over all small cases: the memory is bounded, groups are whole, no image comes twice."""
  for num_devices in (1, 2, 3, 4, 7, 8, 16):
    for batch_size in range(group, 49, group):
      for at_least in (1, 2, 3, batch_size // group):
        if at_least > batch_size // group:
          continue
        split = batch_split.split(batch_size, at_least, num_devices, group)
        size, rounds = split.micro_batch_size, split.micro_batches
        assert size * at_least <= batch_size  # never more images at a time
        assert batch_size % size == 0 and split.images_per_device == rounds * size
        assert 0 <= split.padding < num_devices * split.images_per_device
        assert num_devices * split.images_per_device - split.padding == batch_size
        if size % group:  # a group on several devices, all of it at one time
          assert rounds == 1 and group % size == 0
        if group == 1 and at_least == 1:
          assert split.images_per_device == math.ceil(batch_size / num_devices)


@pytest.mark.parametrize(
  'arguments, expected',
  [
    ((56, 2, 1), (2, 28, 0)),
    ((56, 2, 8), (1, 7, 0)),
    ((56, 2, 16), (1, 4, 8)),
    ((28, 4, 2), (2, 7, 0)),
    ((30, 1, 4), (4, 2, 2)),
    ((16, 1, 8, 4), (1, 2, 0)),
    ((16, 1, 32, 4), (1, 1, 16)),
    ((16, 1, 6, 4), (1, 4, 8)),  # not three images a device, which makes no whole groups
    ((6, 4, 1), (6, 1, 0)),
    ((2, 1, 1, 0), (1, 2, 0)),
  ],
)
def test_divisions(arguments, expected):
  split = batch_split.split(*arguments)
  assert (split.micro_batches, split.micro_batch_size, split.padding) == expected


@pytest.mark.parametrize(
  'arguments, words',
  [
    ((0, 1, 1), 'Set --config.batch_size to a positive number'),
    ((4, 0, 1), 'Set --config.micro_batches to a positive number'),
    ((4, 8, 1), 'micro_batches is 8, more than the 4 images'),
    ((6, 1, 2, 4), 'Set --config.batch_size to a multiple of 4'),
    ((2, 1, 1, 4), 'group_size to a divisor of 2'),
    ((32, 16, 1, 4), 'micro_batches to 8 or less, or --config.discriminator.group_size to 2'),
  ],
)
def test_what_cannot_be_divided(arguments, words):
  with pytest.raises(UserError, match=words):
    batch_split.split(*arguments)


@pytest.mark.parametrize('name', CONFIGS)
def test_every_config_trains_on_any_number_of_devices(name, capsys):
  """As it stands; each with no more images at a time than on one device."""
  assert split_tool.main(['split', f'--config={config_files.find(name)[0]}']) == 0
  config = main.parse(['main', f'--config={config_files.find(name)[0]}', '--workdir=.']).config
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 1 + len(DEVICES) * len(schedule.stages(config))
  for num_devices in DEVICES:
    for alone, stage in zip(
      schedule.stages(config), schedule.stages(config, num_devices), strict=True
    ):
      assert stage.batch_size == alone.batch_size and stage.position == alone.position
      assert stage.split.micro_batch_size <= alone.split.micro_batch_size


def test_the_tool_refuses(capsys):
  config = f'--config={config_files.find("eg3d_toys")[0]}'
  assert split_tool.main(['split', config, '--config.batch_size=6', '--devices=2']) == 1
  assert split_tool.main(['split', config, '--devices=2,x']) == 1
  assert split_tool.main(['split', config, '--devices=²']) == 1
  errors = capsys.readouterr().err
  assert 'multiple of 4' in errors and '--devices=2,x' in errors


@pytest.mark.parametrize('num', [1, 3])
def test_micro_batches_that_do_not_count(num):
  x = jnp.arange(6.0).at[0].set(math.nan)
  mean = jax.jit(lambda x, weights: microbatches.mean(jnp.mean, x, num, weights))
  parts = np.asarray(x).reshape(num, -1)
  if num == 1:
    assert mean(x, jnp.zeros(1)) == 0
  else:
    weights = jnp.array([0.0, 1.5, 1.5])
    np.testing.assert_allclose(mean(x, weights), 1.5 * parts[1:].mean(1).sum() / num)
