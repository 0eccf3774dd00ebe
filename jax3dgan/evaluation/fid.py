"""Fréchet inception distance: the distance of two Gaussians that have the features' moments."""

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.evaluation.statistics import Statistics, check_same_dims


def too_few(count: int, dims: int, photos: bool = False, is_all: bool = False) -> str:
  """Returns the reason that FID on `dims` features needs more than `count` images; or ''.

  Args:
    count: Number of images.
    dims: Number of features.
    photos: Whether the images are photos, for the remedy.
    is_all: Whether these are all photos of the data set.
  """
  # n points span n − 1 dimensions: below that the covariance is singular and FID far too large.
  if count > dims:
    return ''
  remedies = [f'set --config.eval.num_images={dims + 1} or more']
  if photos:
    more = 'give more photos, which --config.data.num_images=0 does if it limits them'
    remedies = [more] if is_all else ['set --config.eval.num_real=0, which takes all photos', more]
  if dims > 768 and count > 768:
    remedies.append('set --config.eval.dims=768')
  remedy = ', or '.join(remedies)  # alternatives
  return (
    f'FID on {dims:,} features needs more than {dims:,} {"photos" if photos else "images"}, '
    f'there are {count:,}. {remedy[0].upper()}{remedy[1:]}.'
  )


def frechet_distance(a: Statistics, b: Statistics) -> float:
  """Returns |μa − μb|² + tr Σa + tr Σb − 2 tr (Σa Σb)^½, at least 0.

  Heusel et al., 'GANs trained by a two time-scale update rule converge to a local Nash equilibrium'
  (2017), eq. 6; Dowson & Landau, 'The Fréchet distance between multivariate normal distributions'
  (1982). The covariances are unbiased (n − 1).

  Σa Σb has the eigenvalues of the symmetric Σa^½ Σb Σa^½, so that everything stays real, also where
  a covariance is singular.

  Args:
    a, b: Statistics of two sets of images, of the same features; more images than features in each.

  Raises:
    UserError: Different dimensions, too few images, or numbers that are not finite.
  """
  check_same_dims(a.dims, b.dims)
  for statistics in (a, b):
    if problem := too_few(statistics.count, statistics.dims):
      raise UserError(problem)
  return _distance(a.mean, a.covariance(), b.mean, b.covariance())


def _distance(mean_a, covariance_a, mean_b, covariance_b) -> float:
  for array in (mean_a, covariance_a, mean_b, covariance_b):
    if not np.isfinite(array).all():
      raise UserError('The statistics of FID are not finite. Take them again, from other images.')
  root = _root(covariance_a)
  product = root @ covariance_b @ root
  # Rounding leaves zeros slightly negative, and the product slightly asymmetric.
  eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)
  cross = np.sqrt(np.maximum(eigenvalues, 0)).sum()
  means = np.sum((mean_a - mean_b) ** 2)
  distance = means + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
  return float(max(distance, 0.0))


def _root(covariance: np.ndarray) -> np.ndarray:
  """The symmetric square root of a symmetric matrix [d, d] without negative eigenvalues."""
  values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
  return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
