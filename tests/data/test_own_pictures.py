"""Pictures of runs and inversions are no photos."""

from jax3dgan.data import sources
from jax3dgan.data.own_pictures import own_pictures

RUN = ['config.json', 'checkpoints/12/_METADATA', 'samples.png', 'samples/0001.png']
PHOTOS = ['a.png', 'a.npz', 'samples/b.png', 'eval/c.png', 'run/photos/d.png', 'out/e.png']


def test_of_runs_and_inversions():
  run = [f'x/run/{name}' for name in (*RUN, 'eval/0001/fid.png', 'eval/metrics.png')]
  inverted = [f'out/f{ending}' for ending in ('.png', '.npz', '.npz.json')]
  expected = {name for name in (*run, 'out/f.png') if name.endswith('.png')}
  assert own_pictures([*PHOTOS, *run, *inverted]) == expected
  assert own_pictures(RUN) == {'samples.png', 'samples/0001.png'}
  assert own_pictures([*PHOTOS, 'config.json', 'x/checkpoints/1/y']) == set()


def test_a_folder_source_leaves_them_out(tmp_path):
  for name in (*RUN, 'photo.png'):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b'')
  source = sources.FolderSource(tmp_path)
  assert [source.describe(i) for i in range(len(source))] == ['photo.png']
  assert '2 pictures of runs and inversions are no photos: left out.' in source.notes
