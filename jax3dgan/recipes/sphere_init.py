"""The start of a signed distance: a sphere (StyleSDF, Or-El et al., CVPR 2022, arXiv 2112.11427,
supplement), so that training begins with one surface around the origin."""

import functools
import re
import time

import jax
import jax.numpy as jnp
import optax

from jax3dgan import cameras, generators
from jax3dgan.fields import signed_distance
from jax3dgan.recipes import base
from jax3dgan.rendering import hierarchical, sampling
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.training.streams import named, named_keys

_STYLES = re.compile('_(gamma|beta)_')  # parameters of the field that latents go through
# Above this, spheres are ripples. Heads seen from the front alone got no surface from spheres of
# 44: the eikonal term evened ripples out, of which (√2·|cos| − 1)² is .2 on average, and the
# distance stayed about 0 inside. From spheres of .3 they got one, and an eikonal term of .1.
MAX_SLOPE_ERROR = 1.0
_SECONDS = 1.0  # that a piece of the work takes at least, where one step does not


def fitted_names(params) -> list[str]:
  """Names of the field's parameters that are fitted, of the generator's parameters."""
  return [name for name in params['field'] if not _STYLES.search(name)]


def fit(config, generator, variables, key, report=lambda done, total, of: None):
  """Parameters whose distances are those of a sphere, for every latent.

  Adam on the mean |d − (|x| − radius)| at points of random rays of the pose prior's cameras. What
  makes γ and β of latents stays as it was drawn: were it fitted too, all latents would become the
  same sphere, painted the same, and training would begin with one object.

  Args:
    config: `config.stylesdf` has the steps, the rays of each of a batch of images, the rate and the
      radius, 0 for (far − near)/4.
    variables: of the generator, fresh.
    report: see `Recipe.warm_up`. The result does not depend on it.
  """
  own, render = config.stylesdf, config.render
  options = generators.render_options(config)
  prior = cameras.pose_prior(**config.pose_prior)
  radius = own.sphere_radius or (render.far - render.near) / 4
  adam = optax.adam(own.sphere_lr)

  params = variables['params']
  fitted = {name: params['field'][name] for name in fitted_names(params)}

  def error(fitted, variables, keys):
    params = variables['params']
    now = {**variables, 'params': {**params, 'field': {**params['field'], **fitted}}}
    w = generator.apply(now, base.draw_latents(keys, generator.z_dim), method='map')
    points = draw_points(keys, config, prior, options)
    distance = generator.apply(now, w, points, method='distance')
    return jnp.mean(jnp.abs(distance - signed_distance.sphere(points, radius)))

  def body(variables, step, state):
    fitted, moments = state
    keys = jax.random.split(jax.random.fold_in(named(key, 'sphere'), step), config.batch_size)
    updates, moments = adam.update(jax.grad(error)(fitted, variables, keys), moments, fitted)
    return optax.apply_updates(fitted, updates), moments

  @jax.jit
  def steps(variables, first, end, state):
    return jax.lax.fori_loop(first, end, functools.partial(body, variables), state)

  report(0, own.sphere_steps, 'spheres')
  # On the device of the parameters from the start: the second piece would be compiled again.
  (device,) = params['field']['beta'].devices()
  state = jax.device_put((fitted, adam.init(fitted)), device)
  done, piece = 0, 1
  while done < own.sphere_steps:
    began, end = time.perf_counter(), min(done + piece, own.sphere_steps)
    state = jax.block_until_ready(steps(variables, done, end, state))
    # Not by the time of the first step, with which the program is compiled.
    if done and time.perf_counter() - began < _SECONDS:
      piece *= 2
    done = end
    report(done, own.sphere_steps, 'spheres')
  fitted, _ = state
  return {**params, 'field': {**params['field'], **fitted}}


def slope_error(config, generator, variables, key) -> float:
  """Mean (‖∇d‖ − 1)² of `batch_size` fresh latents at points as of `fit`: 0 for a distance.

  Distances may be about a sphere's, and their gradients be those of the ripples on it.
  """
  prior, options = cameras.pose_prior(**config.pose_prior), generators.render_options(config)
  keys = jax.random.split(named(key, 'slopes'), config.batch_size)

  @jax.jit
  def error(variables):
    w = generator.apply(variables, base.draw_latents(keys, generator.z_dim), method='map')
    points = draw_points(keys, config, prior, options)
    _, gradient = generator.apply(variables, w, points, method='distance_and_gradient')
    return jnp.mean(signed_distance.eikonal(gradient))

  return float(error(variables))


def describe(error: float) -> str:
  """A line on spheres of this `slope_error`."""
  line = f'Fields begin as spheres: (‖∇d‖ − 1)² is {error:.2g} on average, 0 of a distance.'
  if error <= MAX_SLOPE_ERROR:
    return line
  return (
    f'{line} These are ripples; where shapes stay without a surface (generator/inside), lower '
    '--config.model.style_scale (.25 in the paper) or --config.model.input_scale.'
  )


def draw_points(keys, config, prior, options):
  """Points [b, n, 3] along random rays of cameras of the prior, from per-example keys [b]."""
  num = config.stylesdf.sphere_rays
  camera = base.camera_of(config, *base.draw_angles(named_keys(keys, 'camera'), prior))
  uv = jax.vmap(lambda key: jax.random.uniform(key, (num, 2)))(named_keys(keys, 'pixels'))
  rays = rays_lib.rays_through(camera, uv)
  limits = hierarchical.ray_limits(rays, options)
  near, far = (options.near, options.far) if limits is None else limits[:2]
  draws = hierarchical.draw(named_keys(keys, 'depths'), num, options, noise=False)
  depths = sampling.stratified_depths(near, far, options.num_coarse, draws.jitter, 'cells')
  return hierarchical.points_at(rays, depths).reshape(len(keys), -1, 3)
