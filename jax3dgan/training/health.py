"""Silent failures of 3D-aware GANs, monitored during training: mode collapse, a missing surface,
flat geometry, a saturated discriminator. With all of them the losses are finite.

There is one warning after two checks in a row, and another only after the failure has gone.
"""

from collections.abc import Callable, Mapping

import numpy as np

from jax3dgan.rendering import depth_maps

# Share of the photos' diversity below which samples count as collapsed. The trained toys and
# cats have .56 and .87 (from one camera, where photos are from all of theirs).
MIN_DIVERSITY = 0.25
# Of 64 bins: a slightly inclined plane fills three.
MIN_NON_FLATNESS = 3.0
# Share of opaque pixels below which there is no surface: two pixels of 32².
MIN_SOLID = 0.002
# A logistic discriminator with this loss classifies all images correctly: its gradients vanish.
MIN_DISCRIMINATOR_LOSS = 0.02
# Share of samples inside a signed distance's surface below which there is hardly one: small cars
# whose meshes are whole have .06; heads whose distance was 0 everywhere inside had .002.
MIN_INSIDE = 0.005
_NUM_PHOTOS = 64


def diversity(images: np.ndarray) -> float:
  """Diversity of images [n, h, w, 3] in [−1, 1]: mean over pixels of the standard deviation."""
  return float(np.mean(np.std(np.asarray(images, np.float32), axis=0)))


def photos_diversity(dataset) -> float:
  """The diversity of the first photos of a data set."""
  photos = np.stack([dataset[i][0][..., :3] for i in range(min(_NUM_PHOTOS, len(dataset)))])
  return diversity(photos / np.float32(127.5) - 1)


class Health:
  """Monitors a training.

  Args:
    reference: The photos' diversity, from one view each.
    warn: Called with a warning of one line.
  """

  def __init__(self, reference: float, warn: Callable[[str], None]):
    self._reference, self._warn = reference, warn
    self._times: dict[str, int] = {}

  def losses(self, step: int, means: Mapping[str, float]) -> None:
    """Checks the means of a line of the log."""
    if 'discriminator/adversarial' not in means:
      return
    loss = means['discriminator/adversarial']
    self._check(
      step,
      'saturated discriminator',
      loss < MIN_DISCRIMINATOR_LOSS,
      f'its loss is {loss:.2g}, so that the generator learns nothing',
      'lower --config.optimizer.lr_discriminator, or raise --config.loss.r1',
    )

    if 'generator/inside' in means:
      share = means['generator/inside']
      self._check(
        step,
        'a distance without a surface',
        share < MIN_INSIDE,
        f'it is negative in {share:.2%} of the samples, so that there is no level 0 to mesh',
        'begin with smoother spheres, by a lower --config.model.style_scale or '
        '--config.model.input_scale, and raise --config.loss.eikonal',
      )

  def samples(self, step: int, rendering, options) -> dict[str, float]:
    """Checks renderings of fixed latents from one camera; returns the figures.

    Args:
      step: Steps done.
      rendering: See `generators.Rendering`; the images' diversity and the depth count.
      options: Those of the rendering.
    """
    ratio = diversity(rendering.image) / max(self._reference, 1e-6)
    figures = {'health/diversity': ratio}
    self._check(
      step,
      'mode collapse',
      ratio < MIN_DIVERSITY,
      f'other latents differ by {ratio:.0%} of what photos differ by',
      'raise --config.loss.r1 or the batch size, or go back to an earlier checkpoint',
    )
    if rendering.depth is None:
      return figures
    _, distance, solid = depth_maps.with_background(rendering, options)
    figures['health/solid'] = share = float(solid.mean())
    self._check(
      step,
      'missing surface',
      share < MIN_SOLID,
      f'{share:.1%} of the pixels are opaque',
      'raise --config.loss.r1, lower --config.optimizer.lr_generator, or bring '
      '--config.render.near and --config.render.far closer to the object',
    )
    scores = [
      depth_maps.non_flatness(d[s], options.near, options.far)
      for d, s in zip(distance, solid, strict=True)
      if s.any()
    ]
    if scores:
      figures['health/nfs_solid'] = score = float(np.mean(scores))
      self._check(
        step,
        'flat geometry',
        # The depth of a few pixels says nothing of a shape, and that they are few is said above.
        score < MIN_NON_FLATNESS and share >= MIN_SOLID,
        f'its depth fills {score:.1f} of 64 bins',
        'raise --config.loss.pose or --config.loss.r1, widen the pose prior to what the photos '
        'show, or, where the model has it, raise --config.model.density_gain',
      )
    return figures

  def _check(self, step, what, holds, how, remedy) -> None:
    self._times[what] = self._times.get(what, 0) + 1 if holds else 0
    if self._times[what] == 2:
      self._warn(f'Warning at step {step:,}: {what}? {how[0].upper()}{how[1:]}. Remedy: {remedy}.')
