"""Configs for converted EG3Ds: the values of the paper and its release.

As `curricula` for π-GAN, the values are repeated here; a test compares them with configs/.
"""

import math

from jax3dgan import config as config_lib

_BATCH = 32
_LABEL_DIM = 25


def fov_degrees(focal: float) -> float:
  """The full field of view of a focal length in image sizes."""
  return 2 * math.degrees(math.atan(0.5 / focal))


# Of FFHQ and AFHQ, and of the cars' renderings: normalised focal lengths.
_FACES_FOV, _CARS_FOV = fov_degrees(4.2647), fov_degrees(1.7074)

_FACES = dict(
  render=dict(fov_degrees=_FACES_FOV, radius=2.7, near=2.25, far=3.3, num_coarse=48, num_fine=48),
  pose_prior=dict(name='gaussian', yaw_std=0.3, pitch_std=0.155),
)


def _buckets(first_kimg: int) -> tuple[dict, ...]:
  """64² → 128² over a million images: each quarter renders its middle size."""
  kimg = (0, 250, 500, 750, 1000)
  sizes = (72, 88, 104, 120, 128)
  return tuple(
    dict(from_step=(first_kimg + more) * 1000 // _BATCH, low_resolution=size)
    for more, size in zip(kimg, sizes, strict=True)
  )


# Changes to `create`'s config.
CURRICULA = {
  'ffhq': dict(
    data=dict(
      source='data/ffhq512',
      origin="FFHQ, cropped and with cameras in dataset.json as EG3D's repository prepares it; add "
      '--mirror unless mirrored images are in it.',
    ),
    num_steps=27_500 * 1000 // _BATCH,
    resolution=512,
    stages=_buckets(25_000),
    render=dict(_FACES['render'], pivot=(0.0, 0.0, 0.2), low_resolution=64),
    display=dict(num_coarse=96, num_fine=96),
    pose_prior=_FACES['pose_prior'],
    loss=dict(r1=1.0),
    eg3d=dict(pose_swap=0.5),
  ),
  'afhq': dict(
    data=dict(
      source='data/afhq512',
      origin="AFHQ's cats, cropped and with cameras in dataset.json as EG3D's repository prepares "
      'them; add --mirror unless mirrored images are in it.',
    ),
    num_steps=33_500 * 1000 // _BATCH,
    resolution=512,
    stages=_buckets(31_000),
    render=dict(_FACES['render'], pivot=(0.0, 0.0, -0.06), low_resolution=64),
    display=dict(num_coarse=96, num_fine=96),
    pose_prior=_FACES['pose_prior'],
    loss=dict(r1=5.0),
    eg3d=dict(pose_swap=0.8),
    augment=dict(name='ada', p=0.0, target=0.6, every=4, kimg=500.0),
  ),
  'shapenet_cars': dict(
    data=dict(
      source='data/shapenet_cars128',
      origin="ShapeNet's cars, rendered and with cameras in dataset.json as EG3D's repository has "
      'them.',
    ),
    num_steps=25_000 * 1000 // _BATCH,
    resolution=128,
    model=dict(
      label_scale=0.0, box=1.6, super_channels=(128, 64), super_ups=(1, 2), super_input=64,
      low_resolution=64,
    ),
    discriminator=dict(channels=(512, 512, 512, 512, 512, 256)),
    render=dict(
      fov_degrees=_CARS_FOV, radius=1.7, near=0.1, far=2.6, num_coarse=64, num_fine=64,
      white_back=True, low_resolution=64,
    ),
    display=dict(num_coarse=128, num_fine=128),
    pose_prior=dict(
      name='spherical_uniform', yaw_std=math.pi, pitch_mean=math.pi / 4, pitch_std=math.pi / 4
    ),
    loss=dict(r1=0.3),
  ),
}  # fmt: skip


def create(curriculum: str):
  """The config of a curriculum."""
  config = config_lib.base_config('eg3d')
  changes = CURRICULA[curriculum]
  config_lib.set_model(config, 'eg3d', **{'label_dim': _LABEL_DIM, **changes.get('model', {})})
  config_lib.set_discriminator(
    config, 'dual', **{**_DISCRIMINATOR, **changes.get('discriminator', {})}
  )
  with config.unlocked():
    config.batch_size = _BATCH
    config.data.update(loader='tfdata', flip=False, use_labels=True)
    config.display.update(last_back=False, ray_chunk=4096, truncation_psi=0.7)
    config.eg3d.update(blur=10.0, blur_images=200_000, density=0.25, density_every=4)
    config.ema.update(rates=(EMA_RATE,), display_rate=EMA_RATE, ramp_up=0.05)
    config.eval.update(cameras='dataset')
    for name, value in changes.items():
      if name in ('model', 'discriminator'):
        continue
      if isinstance(value, dict):
        config[name].update(value)
      else:
        config[name] = value
  return config


def rendering(curriculum: str) -> dict:
  """The `rendering_kwargs` with which the release trains by a curriculum."""
  config = create(curriculum)
  render, model = config.render, config.model
  return dict(
    avg_camera_radius=render.radius,
    avg_camera_pivot=list(render.pivot),
    depth_resolution=render.num_coarse,
    depth_resolution_importance=render.num_fine,
    ray_start=render.near,
    ray_end=render.far,
    box_warp=model.box,
    white_back=render.white_back,
    c_scale=1.0,
    c_gen_conditioning_zero=not model.label_scale,
  )


def last_low_resolution(curriculum: str) -> int:
  """Pixels on a side that are rendered at the end of a curriculum."""
  config = create(curriculum)
  stages = [config.render.low_resolution, *(dict(s)['low_resolution'] for s in config.stages)]
  return stages[-1]


_DISCRIMINATOR = dict(
  channels=(512, 512, 512, 512, 512, 256, 128, 64),
  label_dim=_LABEL_DIM, cmap_dim=512, mapping_layers=8, clamp=256.0,
)  # fmt: skip
# The half-life is 10,000 images.
EMA_RATE = 0.5 ** (_BATCH / 10_000)
