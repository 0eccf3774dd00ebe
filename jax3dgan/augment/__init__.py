"""Adaptive discriminator augmentation (ADA; Karras et al. 2020, *Training Generative Adversarial
Networks with Limited Data*, arXiv 2006.06676): `augment` and its strength's controller."""

from jax3dgan.augment.controller import AdaState, ada_update, adjust, observe
from jax3dgan.augment.pipeline import Augmentations, augment, augment_pair

__all__ = [
  'AdaState',
  'Augmentations',
  'ada_update',
  'adjust',
  'augment',
  'augment_pair',
  'observe',
]
