"""π-GAN's variant with a learned grid of features: to a workdir, to its pictures, and back."""

import numpy as np
import PIL.Image
import pytest
import scipy.ndimage

from jax3dgan import discriminators, generators, trained
from jax3dgan.apps import samples
from jax3dgan.convert import __main__ as cli
from jax3dgan.convert import curricula, official, pigan, runs, write
from jax3dgan.runs import checkpoints, workdirs
from jax3dgan.training import state as state_lib

CHANNELS, SIDE, HIDDEN, LAYERS, Z, WIDTH = 4, 4, 8, 2, 6, 5
GRID = 'siren.spatial_embeddings'


def weights():
  """A state dict, whose density and colours are of the order of 1."""
  rng = np.random.default_rng(0)

  def normal(*shape, std):
    return (rng.normal(size=shape) * std).astype(np.float32)

  made = {GRID: normal(1, CHANNELS, SIDE, SIDE, SIDE, std=1)}
  field = {
    'network.0.layer': (HIDDEN, CHANNELS + 3, 0.02),
    'network.1.layer': (HIDDEN, HIDDEN, 0.02),
    'final_layer': (1, HIDDEN, 5),
    'color_layer_sine.layer': (HIDDEN, HIDDEN + 3, 0.02),
    'color_layer_linear.0': (3, HIDDEN, 2),
    'mapping_network.network.0': (WIDTH, Z, 0.5),
    'mapping_network.network.2': (2 * (LAYERS + 1) * HIDDEN, WIDTH, 0.1),
  }
  for name, (rows, columns, std) in field.items():
    made[f'siren.{name}.weight'] = normal(rows, columns, std=std)
    made[f'siren.{name}.bias'] = normal(rows, std=std)
  return made


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('embedding')
  write.torch(folder / 'weights.pth', weights())
  with pytest.MonkeyPatch.context() as patch:
    small = {**curricula.CURRICULA['celeba']}
    small['discriminator'] = {**small['discriminator'], 'channels': (4,) * 6}
    patch.setitem(curricula.CURRICULA, 'celeba', small)
    flags = [f'--input={folder / "weights.pth"}', '--curriculum=celeba', '--step=7']
    assert cli.main(['--from=pigan', *flags, f'--workdir={folder / "run"}']) == 0
  return folder / 'run'


def test_sizes_and_names_follow_from_the_weights(workdir):
  """No --field is needed: only the spatial one has a grid."""
  model = workdirs.load_config(workdir).model
  assert (model.embedding_channels, model.embedding_resolution) == (CHANNELS, SIDE)
  assert (model.hidden_dim, model.num_layers, model.input_scale) == (HIDDEN, LAYERS, 2 / 0.24)
  grid = checkpoints.read(workdir, 'networks', 'generator', 'field', 'spatial_embeddings')[1]
  assert grid.shape == (SIDE, SIDE, SIDE, CHANNELS)
  assert grid[1, 2, 3, 0] == weights()[GRID][0, 0, 1, 2, 3]


def test_the_field_of_the_workdir_is_the_official_formula(workdir):
  """In the official names and layouts, the grid at x → w, y → h, z → d with both ends."""
  model = trained.load(workdir=workdir)
  w = np.asarray(model.map(np.ones((1, Z), np.float32), psi=1))
  points = np.random.default_rng(1).uniform(-0.15, 0.15, (40, 3)).astype(np.float32)
  density, colour = model.generator.apply(model.variables, w, points[None], method='query')
  made = {key.removeprefix('siren.'): np.float64(value) for key, value in weights().items()}

  def film(x, name, i):
    linear = x @ made[f'{name}.weight'].T + made[f'{name}.bias']
    return np.sin((15 * w[0, i, 0] + 30) * linear + w[0, i, 1])

  x = points * (2 / 0.24)
  at = ((x[:, ::-1] + 1) / 2 * (SIDE - 1)).T
  features = [
    scipy.ndimage.map_coordinates(channel, at, order=1, mode='grid-constant')
    for channel in made['spatial_embeddings'][0]
  ]
  x = np.concatenate([np.stack(features, -1), x], -1)
  for i in range(LAYERS):
    x = film(x, f'network.{i}.layer', i)
  expected = x @ made['final_layer.weight'][0] + made['final_layer.bias'][0]
  x = np.concatenate([np.tile([0, 0, -1.0], (40, 1)), x], -1)
  x = film(x, 'color_layer_sine.layer', LAYERS)
  raw = x @ made['color_layer_linear.0.weight'].T + made['color_layer_linear.0.bias']
  assert expected.std() > 0.1 and raw.std() > 0.1
  # Phases of a few units, each good to 1e-6, under weights of up to 10.
  np.testing.assert_allclose(density[0], expected, atol=1e-4)
  np.testing.assert_allclose(colour[0], 1 / (1 + np.exp(-raw)), atol=1e-4)


def test_pictures(workdir, tmp_path):
  out = tmp_path / 'x.png'
  samples.main([f'--workdir={workdir}', f'--out={out}', '--seeds=0-1', '--resolution=8'])
  with PIL.Image.open(out) as picture:
    assert np.asarray(picture).std() > 1


def test_the_way_back(workdir):
  released = runs.release(workdir)
  assert released.class_name == 'EmbeddingPiGAN256'  # the one with a grid of that few samples
  assert released.weights.keys() == weights().keys()
  for key, value in weights().items():
    np.testing.assert_array_equal(released.weights[key], value)
    assert released.weights[key].flags.c_contiguous


def test_the_class_hangs_on_the_width_and_another_scale_is_refused(tmp_path):
  """A grid over other points than ±.12 is none of the release's."""
  config = curricula.create('celeba')
  config.discriminator.channels = (4,) * 6
  config.model.update(
    z_dim=Z, hidden_dim=128, num_layers=1, embedding_channels=2, embedding_resolution=3
  )
  state = state_lib.create(
    config, generators.create(config), discriminators.create(config.discriminator)
  )
  for scale in (2 / 0.24, 3.0):
    config.model.input_scale = scale
    saver = checkpoints.Checkpoints(tmp_path / f'{scale:.0f}', 1, 1, config=config)
    saver.save(1, state, force=True)
    saver.close()
  assert runs.release(tmp_path / '8').class_name == 'EmbeddingPiGAN128'
  with pytest.raises(official.UserError, match=r'input_scale 3; with a grid the release has 8\.3'):
    runs.release(tmp_path / '3')


@pytest.mark.parametrize(
  'class_name, embedded, flag, words',
  [
    ('', True, 'tall', 'x has an embedding grid: leave out --field, or give spatial'),
    ('EmbeddingPiGAN256', True, 'tall', 'x has the field EmbeddingPiGAN256: leave out --field'),
    ('EmbeddingPiGAN128', False, None, 'x has the field EmbeddingPiGAN128 and no embedding grid'),
    ('TALLSIREN', True, None, 'x has the field TALLSIREN and an embedding grid'),
  ],
)
def test_contradictions(class_name, embedded, flag, words):
  with pytest.raises(official.UserError, match=words):
    official._field('x', class_name, embedded, flag)
  assert official._field('x', 'EmbeddingPiGAN128', True, None) == 'spatial'


def test_averages_begin_with_the_grid_as_pytorch_lists_parameters(tmp_path):
  torch = pytest.importorskip('torch')

  class Siren(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.network = torch.nn.ModuleList([torch.nn.Linear(CHANNELS + 3, HIDDEN)])
      self.spatial_embeddings = torch.nn.Parameter(torch.zeros(1, CHANNELS, SIDE, SIDE, SIDE))

  assert [name for name, _ in Siren().named_parameters()][0] == 'spatial_embeddings'
  write.torch(tmp_path / 'weights.pth', weights())
  generator = official.read_generator(tmp_path / 'weights.pth')
  assert generator.names[0] == (('field', 'spatial_embeddings'), GRID)
  values = [torch.from_numpy(2 * weights()[key]) for _, key in generator.names]
  state = {'decay': 0.999, 'num_updates': 3, 'shadow_params': values, 'collected_params': []}
  torch.save(state, tmp_path / 'ema.pth')
  average = official.read_average(tmp_path / 'ema.pth', generator)
  assert average.weights.keys() == weights().keys()
  np.testing.assert_array_equal(average.weights[GRID], 2 * weights()[GRID])
  ours = generator.params(average.weights)
  same = pigan.to_official(ours, generator.names)
  np.testing.assert_array_equal(same[GRID], 2 * weights()[GRID])
