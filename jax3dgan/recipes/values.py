"""What goes into a phase of a recipe, and what comes out of it (`recipes.base`)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from jax3dgan.cameras import Camera


class Now(NamedTuple):
  """Where training is.

  Attributes:
    step: The number of the step, from 0; may be traced.
    images: Images of the data set that were used before it.
  """

  step: Any
  images: Any


class Photos(NamedTuple):
  """One device's share of a batch of the data set.

  Attributes:
    image: [b, h, w, 3] in [−1, 1].
    label: [b, 25] cameras; None where `config.data.use_labels` is off.
    all_labels: [n, 25] the cameras of the whole batch, of all devices; None without labels.
    opacity: [b, h, w] in [0, 1] of what is in front of a white ground; None where the recipe needs
      no masks (`Recipe.needs_masks`).
    codes: {name: [b, k]} of what the recipe needs of them (`Recipe.needs_codes`).
    table: {name: [n, k]} labels, where there are labels, and codes of the whole data set, the same
      on every device, for fakes that are made of them; after them those of mirrored photos, where
      photos are mirrored.
  """

  image: jax.Array
  label: jax.Array | None = None
  all_labels: jax.Array | None = None
  opacity: jax.Array | None = None
  codes: Mapping[str, jax.Array] = {}
  table: Mapping[str, jax.Array] = {}


class Inputs(NamedTuple):
  """What a phase's loss is computed from; every leaf has a batch axis, [b, ...].

  Attributes:
    z: [b, z_dim] latents.
    camera: Of the fakes, [b].
    condition: [b, 25] label that the mapping network is conditioned on; None for none.
    label: [b, 25] label of the fakes that the discriminator is conditioned on; None for none.
    keys: Per-example keys [b] of what is random in the rendering, or `hierarchical.Draws`.
    images: [b, h, w, 3] photos in [−1, 1], where the phase needs them.
    image_label: [b, 25] label of the photos that the discriminator is conditioned on.
    extras: What else a recipe draws, by name: points, object poses, expression codes.
  """

  z: Any = None
  camera: Camera | None = None
  condition: Any = None
  label: Any = None
  keys: Any = None
  images: Any = None
  image_label: Any = None
  extras: Mapping[str, Any] = {}


class Networks(NamedTuple):
  """The networks as they are when a phase begins.

  Attributes:
    params: Parameters by network.
    buffers: Arrays that are not trained, by network, and those of the recipe, by name.
  """

  params: Mapping[str, Any]
  buffers: Mapping[str, Any]

  def variables(self, network: str, params=None) -> dict:
    """What `module.apply` takes: the network's parameters, or these instead, and its buffers."""
    params = self.params[network] if params is None else params
    buffers = self.buffers.get(network)
    return {'params': params, 'buffers': buffers} if buffers else {'params': params}


class Terms(NamedTuple):
  """What a loss returns beside its scalar; averaged over micro-batches and devices.

  Attributes:
    metrics: Scalars to log, by name.
    buffers: New values of buffers, by network; those that are missing stay, also of a network's.
  """

  metrics: dict[str, Any]
  buffers: dict[str, Any] = {}
