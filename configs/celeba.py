"""π-GAN on CelebA at 64², with the values of the paper and its release.

Score: FID 14.7 at 128² (paper, Table 1, after a curriculum of 32², 64² and 128²).
Cost: 27.2 TFLOP a step at batch 56. The release needs about 1.4 s a step on an A6000: 3.2 days for
200,000 steps. The paper trained 56 hours on two RTX 6000.
Data: CelebA, fetched by TFDS and cropped as π-GAN crops it at first use. Where its downloads refuse
(they have a daily quota): get img_align_celeba.zip yourself, run python -m jax3dgan.data.prepare
--source=img_align_celeba.zip --out=data/celeba64 --resolution=64 --crop=celeba, and add
--config.data.source=data/celeba64.

Differences from the release, each an override away:
- density through softplus instead of relu (--config.render.density=relu), which removes its black
  pixels; the infinite last interval is there (render.last_interval);
- top-k over the whole batch instead of each split (--config.compat.top_k_per_split);
- the generator's gradient is the mean over micro-batches instead of their sum
  (--config.compat.sum_micro_batches);
- each epoch in another order (--config.compat.same_order);
- photos resized with a filter (data.prepare --resize=nearest).
Where there are stages: learning rates and fade follow each of them, not only those that change the
batch size (--config.compat.refresh_with_batch_size).
"""

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config()
  config.data.update(source='tfds:celeb_a', loader='tfdata', flip=False)
  config.batch_size = 56
  config.micro_batches = 2
  config.render.update(
    fov_degrees=12.0, near=0.88, far=1.12, num_coarse=12, num_fine=12, ray_chunk=1024
  )
  config.display.update(num_coarse=24, num_fine=24, last_back=True)
  config.pose_prior.update(name='gaussian', yaw_std=0.3, pitch_std=0.155)
  config.discriminator.update(block='ccs', latent_dim=256, pose_dim=2)
  config.loss.update(r1=0.2, pose=15.0, top_k_interval=2000, top_k_floor=0.6)
  config.optimizer.update(lr_generator=6e-5, lr_discriminator=2e-4, grad_clip=10.0)
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys', loader='arrays', on_device=True)
  return config
