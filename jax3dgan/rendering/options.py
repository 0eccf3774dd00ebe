"""How to render: the static options of the volume renderer."""

import dataclasses

from jax3dgan.errors import UserError

_CHOICES = {
  'last_interval': ('far', 'infinite'),
  'saved_activations': ('all', 'phases'),
  'marcher': ('samples', 'midpoints'),
  'strata': ('centred', 'forward'),
  'spacing': ('linear', 'disparity'),
  'importance': ('weights', 'smoothed'),
}


@dataclasses.dataclass(frozen=True)
class RenderOptions:
  """How to render; hashable, so that it can be static under jit.

  Attributes:
    resolution: pixels on a side.
    near, far: ends of the sampled part of a ray, world units along the unit ray.
    num_coarse, num_fine: samples per ray of the two passes; no second pass with num_fine = 0.
    density: 'softplus' or 'relu'.
    last_interval: 'far': the last sample's interval ends half a stratum behind `far`, so that a
      ray can pass; 'infinite': 1e10 as in π-GAN's release (any density at the last sample is
      opaque there).
    white_back, last_back: what a ray that passes sees, see `compositing.composite`.
    lock_view_direction: the field is always asked from the front, direction (0, 0, −1).
    align_corners: pixel grid with both ends included (π-GAN's release) instead of pixel centres.
    ray_chunk: at most so many rays of an image are rendered at a time, which bounds memory, also of
      gradients; 0 for as many as the platform likes.
    marcher: 'samples': every sample stands for the interval behind it (NeRF, π-GAN); 'midpoints':
      EG3D's, between neighbours, with softplus(density − 1): density, last_interval and last_back
      are of no account then.
    strata, spacing: where coarse samples may lie, see `sampling.stratified_depths`.
    importance: 'weights' or 'smoothed', see `sampling.importance_depths` and
      `sampling.smoothed_importance_depths`; the latter goes with 'midpoints'.
    box: each ray is sampled where it passes the cube of this side around the origin, instead of
      from near to far; 0 for near and far.
    low_resolution: pixels on a side that are rendered before an up-sampler makes `resolution` of
      them; 0 for as many as the model likes. Of no account without one.
    saved_activations: what a gradient finds of a SIREN's activations. 'all': everything, or, with
      chunks, nothing, so that each chunk is rendered again; 'phases': two bytes each, of which the
      rest follows without another hidden product, see `nn.phases`.
  """

  resolution: int = 64
  near: float = 0.88
  far: float = 1.12
  num_coarse: int = 12
  num_fine: int = 12
  density: str = 'softplus'
  last_interval: str = 'far'
  white_back: bool = False
  last_back: bool = False
  lock_view_direction: bool = False
  align_corners: bool = False
  ray_chunk: int = 0
  saved_activations: str = 'all'
  marcher: str = 'samples'
  strata: str = 'centred'
  spacing: str = 'linear'
  importance: str = 'weights'
  box: float = 0.0
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
      least = 3 if self.importance == 'weights' else 4
    if self.num_coarse < least:
      raise UserError(
        f'num_coarse {self.num_coarse} is too small. Set at least {least}'
        + (' where num_fine refines between them.' if self.num_fine else '.')
      )
    if self.importance == 'smoothed' and self.marcher != 'midpoints' and self.num_fine:
      raise UserError(
        "importance 'smoothed' needs weights between samples. Set marcher='midpoints'."
      )
