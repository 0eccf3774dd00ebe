"""How to render: the static options of the volume renderer."""

import dataclasses

from jax3dgan.errors import UserError

_CHOICES = {
  'density': ('softplus', 'relu', 'field'),
  'last_interval': ('far', 'infinite', 'none'),
  'saved_activations': ('all', 'phases'),
  'marcher': ('samples', 'midpoints'),
  'strata': ('centred', 'forward', 'cells', 'between'),
  'jitter': ('sample', 'ray'),
  'limits_along': ('ray', 'axis'),
  'spacing': ('linear', 'disparity'),
  'importance': ('weights', 'nerf', 'smoothed', 'robust'),
  'fine_jitter': ('sample', 'strata'),
}

# Of pictures that people look at, instead of those of training: more samples a ray.
DISPLAY = dict(num_coarse=24, num_fine=24, last_back=False, ray_chunk=1024)


@dataclasses.dataclass(frozen=True)
class RenderOptions:
  """How to render; hashable, so that it can be static under jit. The defaults are π-GAN's for
  CelebA.

  Attributes:
    resolution: pixels on a side.
    near, far: ends of the sampled part of a ray, world units, see `limits_along`.
    limits_along: 'ray': near and far are distances from the camera; 'axis': distances of planes
      across the camera's axis, between which every ray is sampled (StyleSDF, StyleNeRF).
    limits_radius: near and far are those of a camera at this distance from the origin; for another
      one they move with it, so that the same space is sampled (GRAF); 0: they are every camera's.
    num_coarse, num_fine: samples per ray of the two passes; no second pass with num_fine = 0.
    density: 'softplus' or 'relu', see `compositing.activate_density`; 'field': the field returns a
      density, not a raw one.
    last_interval: 'far': the last sample's interval ends half a stratum behind `far`, or at `far`
      with the strata 'cells', so that a ray can pass; 'infinite': 1e10 as in π-GAN's release (any
      density at the last sample is opaque there); 'none': 0, where what is behind belongs to a
      background.
    white_back, last_back: the background, see `compositing.composite`.
    lock_view_direction: the field gets the view direction (0, 0, −1) for every ray.
    align_corners: pixel grid with both ends included (π-GAN's release) instead of pixel centres.
    ray_chunk: at most so many rays of an image are rendered at a time, which bounds memory, also of
      gradients; 0 for as many as suit the platform.
    marcher: 'samples': every sample stands for the interval behind it (NeRF, π-GAN); 'midpoints':
      EG3D's, see `compositing.march_midpoints`: between neighbours, with softplus(raw density − 1),
      or with the field's density under density 'field'. There is no last interval then.
    jitter: 'sample': each coarse sample has a random place in its stratum; 'ray': all samples of a
      ray have the same (StyleSDF).
    strata, spacing: which depths a coarse sample may have, see `sampling.stratified_depths`.
    importance: 'weights' or 'nerf', see `sampling.importance_depths`; 'smoothed', see
      `sampling.smoothed_importance_depths`, which needs 'midpoints'; or 'robust', see
      `sampling.robust_depths`.
    nucleus: which share of a ray's weight the bins hold in which 'robust' samples.
    fine_jitter: 'sample': fine samples are drawn independently of each other; 'strata': one in each
      of num_fine parts of equal weight, as 'robust' does in any case.
    box: each ray is sampled where it passes the cube of this side around the origin, instead of
      from near to far, and a ray that misses it has opacity 0; 0 for near and far.
    compat_box_limits: samples rays that miss the box as EG3D's release does, within limits of all
      rays that are rendered together: an image then depends on the others of its batch, see
      `sampling.release_box_limits`.
    low_resolution: pixels on a side that are rendered before an up-sampler makes `resolution` of
      them; 0 for the model's own number. Models without an up-sampler do not use it.
    saved_activations: what is kept of a SIREN's activations for the gradient. 'all': everything,
      or, with chunks, nothing, so that each chunk is rendered again; 'phases': two bytes each, from
      which the rest is computed without another hidden product, see `nn.phases`.
  """

  resolution: int = 64
  near: float = 0.88
  far: float = 1.12
  num_coarse: int = 12
  num_fine: int = 12
  density: str = 'softplus'
  last_interval: str = 'infinite'
  white_back: bool = False
  last_back: bool = False
  lock_view_direction: bool = False
  align_corners: bool = True
  ray_chunk: int = 0
  saved_activations: str = 'all'
  marcher: str = 'samples'
  strata: str = 'centred'
  jitter: str = 'sample'
  limits_along: str = 'ray'
  limits_radius: float = 0.0
  spacing: str = 'linear'
  importance: str = 'weights'
  nucleus: float = 0.98
  fine_jitter: str = 'sample'
  box: float = 0.0
  compat_box_limits: bool = False
  low_resolution: int = 0

  def __post_init__(self):
    for field, choices in _CHOICES.items():
      if getattr(self, field) not in choices:
        raise UserError(
          f"No {field} is called '{getattr(self, field)}'. Choose one of {', '.join(choices)}."
        )
    if not self.near < self.far:
      raise UserError(
        f'Rays from near {self.near} to far {self.far} are empty. Set near below far.'
      )
    least = 1 if self.marcher == 'samples' else 2
    if self.num_fine:
      least = 4 if self.importance == 'smoothed' else 3
    if self.num_coarse < least:
      raise UserError(
        f'num_coarse {self.num_coarse} is too small. Set at least {least}'
        + (' where num_fine refines between them.' if self.num_fine else '.')
      )
    if not 0 < self.nucleus <= 1:
      raise UserError(f'nucleus {self.nucleus} is no share. Set it above 0, and at most 1.')
    if self.importance == 'robust' and self.fine_jitter != 'sample':
      raise UserError(
        "importance 'robust' has strata of its own. Set fine_jitter='sample', or take another "
        'importance.'
      )
    if self.marcher == 'midpoints' and (self.density == 'relu' or self.last_back):
      raise UserError(
        "The marcher 'midpoints' has no density 'relu' and no last_back. Set density='softplus' "
        "and last_back=False, or marcher='samples'."
      )
    if self.compat_box_limits and not self.box:
      raise UserError('compat_box_limits is for rays that miss a box. Set box, or leave it out.')
    if self.box and self.limits_along == 'axis':
      raise UserError(
        "limits_along 'axis' has no effect with a box, which says where rays are sampled. Set "
        "limits_along='ray', or box=0."
      )
    if self.box and self.limits_radius:
      raise UserError(
        'limits_radius has no effect with a box, which says where rays are sampled. Set '
        'limits_radius=0, or box=0.'
      )
    if self.importance == 'smoothed' and self.marcher != 'midpoints' and self.num_fine:
      raise UserError(
        "importance 'smoothed' needs weights between samples. Set marcher='midpoints'."
      )
