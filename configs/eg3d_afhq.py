"""EG3D on cat faces (AFHQ) at 512², trained on from faces of people, with the values of the paper
and its release.

Score: FID 2.77 (paper, Table 1); 2.91 with the released weights, measured again.
Cost: for each picture that of configs/eg3d_ffhq.py. How long the paper trains on after FFHQ is not
known to us: here for 6,000 kimg at 64² and 2,500 at 128².
Start: FFHQ's weights at 64² in the same workdir, python -m jax3dgan.convert --from=eg3d
--input=ffhq512-64.pkl --workdir=DIR, which are at step 781,250; then this config with
--config.model.plane_axes=official.
Data: as for configs/eg3d_ffhq.py, into data/afhq512.

Different from the release: what configs/eg3d_ffhq.py says. 5,000 cats are few: the discriminator
sees them augmented (ADA), with the release's target .6, moved every 4 steps by 1 in 500 kimg at
most.
"""

import math

from jax3dgan import config as config_lib

KIMG = 1000 / 32  # steps


def get_config():
  """The experiment."""
  config = config_lib.base_config('eg3d')
  config.data.update(source='data/afhq512', loader='tfdata', flip=False, use_labels=True)
  config.data.origin = (
    "AFHQ's cats, cropped and with cameras in dataset.json as EG3D's repository prepares "
    'them; add --mirror unless mirrored images are in it.'
  )
  config.resolution = 512
  config.batch_size = 32
  config.num_steps = int(33_500 * KIMG)
  # Over a million images, each quarter at its middle size.
  config.stages = tuple(
    dict(from_step=int(kimg * KIMG), low_resolution=size)
    for kimg, size in (
      (31_000, 72), (31_250, 88), (31_500, 104), (31_750, 120), (32_000, 128),
    )
  )  # fmt: skip
  config_lib.set_model(config, 'eg3d')
  config.render.update(
    fov_degrees=2 * math.degrees(math.atan(0.5 / 4.2647)),
    radius=2.7,
    pivot=(0.0, 0.0, -0.06),
    near=2.25,
    far=3.3,
    num_coarse=48,
    num_fine=48,
    low_resolution=64,
  )
  config.display.update(
    num_coarse=96, num_fine=96, last_back=False, ray_chunk=4096, truncation_psi=0.7
  )
  # For displays; training has the photos' cameras.
  config.pose_prior.update(name='gaussian', yaw_std=0.3, pitch_std=0.155)
  config_lib.set_discriminator(
    config,
    'dual',
    channels=(512, 512, 512, 512, 512, 256, 128, 64),
    label_dim=25,
    cmap_dim=512,
    clamp=256.0,
  )
  config.loss.update(r1=5.0)
  config.eg3d.update(pose_swap=0.8, blur=10.0, blur_images=200_000, density=0.25, density_every=4)
  config.augment.update(name='ada', p=0.0, target=0.6, every=4, kimg=500.0)
  rate = 0.5 ** (32 / 10_000)  # a half-life of 10,000 images
  config.ema.update(rates=(rate,), display_rate=rate, ramp_up=0.05)
  config.eval.update(cameras='dataset')
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys', loader='arrays', on_device=True)
  return config
