"""Files of Gaussians: read back by the house and by others, upright in every format."""

import struct

import numpy as np
import pytest

from jax3dgan import splats
from jax3dgan.errors import UserError
from jax3dgan.rendering import spherical_harmonics, splatting_projection
from jax3dgan.splats import cloud as cloud_lib


def make(n=50, degree=3, seed=0):
  """A cloud whose numbers are within what every format has."""
  rng = np.random.default_rng(seed)
  k = (degree + 1) ** 2
  return cloud_lib.cloud(
    rng.uniform(-1, 1, (n, 3)),
    np.exp(rng.uniform(-6, -1, (n, 3))),
    rng.normal(size=(n, 4)),
    rng.uniform(0.05, 0.95, n),
    rng.uniform(-0.9, 0.9, (n, k, 3)),
  )


@pytest.mark.parametrize('degree', [0, 1, 2, 3])
@pytest.mark.parametrize('ending', ['.ply', '.glb', '.spz'])
def test_what_is_written_is_read(tmp_path, ending, degree):
  own = make(degree=degree)
  path = tmp_path / f'x{ending}'
  splats.write(path, own)
  again = splats.read(path)
  assert again.degree == degree
  tolerance = dict.fromkeys(own._fields, 2e-6)
  if ending == '.spz':
    # Half a step of each, of logarithms for scales, and of degree 1 for harmonics.
    tolerance = dict(means=2**-13, scales=np.expm1(1 / 32) * own.scales.max())
    tolerance |= dict(quaternions=0.07, opacities=0.002, harmonics=8 / 128 + 0.01)
  for name, limit in tolerance.items():
    error = np.abs(getattr(again, name) - getattr(own, name)).max()
    assert error <= limit, (name, error)
  splats.write(tmp_path / f'y{ending}', own)
  assert path.read_bytes() == (tmp_path / f'y{ending}').read_bytes()


def test_a_splat_file_has_the_most_visible_first(tmp_path):
  own = make()
  splats.write(tmp_path / 'x.splat', own)
  assert (tmp_path / 'x.splat').stat().st_size == 32 * 50
  again = splats.read(tmp_path / 'x.splat')
  weight = np.prod(own.scales, axis=1) * own.opacities
  order = np.argsort(-weight)
  np.testing.assert_allclose(again.means, own.means[order], atol=1e-6)
  np.testing.assert_allclose(again.colours, own.colours[order], atol=0.003)
  turn = np.abs(np.sum(again.quaternions * own.quaternions[order], axis=1))
  assert turn.min() > 0.9998 and again.degree == 0


def test_turned_is_the_same_scene_seen_from_a_turned_world():
  own = make(8)
  turned, flip = cloud_lib.turned(own), np.diag(np.float32([1, -1, -1]))
  rotations = [np.asarray(splatting_projection.rotations(x.quaternions)) for x in (own, turned)]
  # Their axes have signs of their own, so the covariances are compared.
  ours, theirs = (
    np.einsum('nij,nj,nkj->nik', r, own.scales**2, r, dtype=np.float64) for r in rotations
  )
  np.testing.assert_allclose(theirs, flip @ ours @ flip, atol=1e-7)
  directions = make(8, seed=1).means
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  seen = spherical_harmonics.colours(own.harmonics, directions)
  again = spherical_harmonics.colours(turned.harmonics, directions @ flip)
  np.testing.assert_allclose(again, seen, atol=1e-6)
  np.testing.assert_array_equal(turned.means, own.means @ flip)


def test_the_header_of_a_ply_is_the_one_of_3d_gaussian_splatting(tmp_path):
  own = make(2)
  splats.write(tmp_path / 'x.ply', own)
  text, _, rows = (tmp_path / 'x.ply').read_bytes().partition(b'end_header\n')
  names = [line.split()[-1] for line in text.decode().splitlines()[3:]]
  assert len(names) == 62 and names[6:11] == ['f_dc_0', 'f_dc_1', 'f_dc_2', 'f_rest_0', 'f_rest_1']
  first = dict(zip(names, struct.unpack_from('<62f', rows), strict=True))
  assert first['y'] == -own.means[0, 1] and abs(first['scale_2'] - np.log(own.scales[0, 2])) < 1e-6
  # Channel by channel: the second number is the second coefficient's red, whose z is reversed.
  assert (
    first['f_rest_1'] == -own.harmonics[0, 2, 0] and first['f_rest_2'] == own.harmonics[0, 3, 0]
  )
  assert abs(1 / (1 + np.exp(-first['opacity'])) - own.opacities[0]) < 1e-6


def test_others_read_them(tmp_path):
  """trimesh shows the points of both formats that have a fallback, in the right colours."""
  trimesh = pytest.importorskip('trimesh')
  own = make()
  splats.write(tmp_path / 'x.glb', own)
  scene = trimesh.load(tmp_path / 'x.glb')
  (points,) = scene.geometry.values()
  np.testing.assert_allclose(points.vertices, own.means, atol=1e-6)
  splats.write(tmp_path / 'x.ply', own)
  points = trimesh.load(tmp_path / 'x.ply')
  np.testing.assert_allclose(points.vertices, own.means * [1, -1, -1], atol=1e-6)


def test_a_library_of_splats_reads_them(tmp_path):
  gsply = pytest.importorskip('gsply')
  own = make(degree=1)
  flipped = cloud_lib.turned(own)
  for ending, read, expected in (
    ('.ply', gsply.plyread, flipped),
    ('.spz', gsply.read_spz, own),
  ):
    splats.write(tmp_path / f'x{ending}', own)
    found, exact = read(str(tmp_path / f'x{ending}')), ending == '.ply'
    np.testing.assert_allclose(found.means, expected.means, atol=1e-6 if exact else 2e-4)
    np.testing.assert_allclose(found.scales, np.log(expected.scales), atol=1e-6 if exact else 0.04)
    opacities = 1 / (1 + np.exp(-found.opacities))
    np.testing.assert_allclose(opacities, expected.opacities, atol=1e-6 if exact else 0.003)
    np.testing.assert_allclose(found.sh0, expected.harmonics[:, 0], atol=1e-6 if exact else 0.02)
    np.testing.assert_allclose(found.shN, expected.harmonics[:, 1:], atol=1e-6 if exact else 0.04)
    lengths = np.linalg.norm(found.quats, axis=1)
    same = np.abs(np.sum(found.quats * expected.quaternions, axis=1)) / lengths
    assert same.min() > 0.998


def test_what_is_no_such_file(tmp_path):
  own = make(3)
  with pytest.raises(UserError, match='End it in one of .ply, .splat, .spz, .glb'):
    splats.write(tmp_path / 'x.obj', own)
  for ending, words in (
    ('.ply', 'no binary PLY'),
    ('.splat', 'no rows of 32'),
    ('.spz', 'no gzip file'),
    ('.glb', 'no GLB file'),
  ):
    path = tmp_path / f'x{ending}'
    path.write_bytes(b'glTF of no use')
    with pytest.raises(UserError, match=words) as error:
      splats.read(path)
    assert str(path) in str(error.value) and '\n' not in str(error.value)
  splats.write(tmp_path / 'y.ply', own)
  (tmp_path / 'y.ply').write_bytes((tmp_path / 'y.ply').read_bytes()[:-4])
  with pytest.raises(UserError, match='damaged'):
    splats.read(tmp_path / 'y.ply')
  with pytest.raises(UserError, match='not finite'):
    cloud_lib.cloud(own.means * np.nan, *own[1:])
  with pytest.raises(UserError, match='within 2048'):
    splats.write(tmp_path / 'x.spz', own._replace(means=own.means + 3000))
