"""GGHead against golden arrays: all stages, images, both networks' losses and gradients."""

import functools

import golden_gghead as golden
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import nchw, nhwc

from jax3dgan import cameras, generators
from jax3dgan.convert import eg3d_names, gghead_names
from jax3dgan.losses import gaussians as gaussian_losses
from jax3dgan.recipes import Inputs, Now, gghead_losses
from jax3dgan.rendering import rays
from jax3dgan.training import schedule

FORWARD, GRADIENTS = 1e-4, 2e-3  # relative to the largest entry


@functools.cache
def stages(form):
  """Everything that is compared of a form, by golden names."""
  config, generator, _, networks = golden.model(form)
  variables, arrays = networks.variables('generator'), goldens.load(golden.file(form))
  options = generators.render_options(config)

  @jax.jit
  def run(z, label, others):
    apply = functools.partial(generator.apply, variables)
    w, average = apply(z, label, method='map'), apply(method='average_w')
    raw = apply(w, method='raw_attributes')
    own = apply(raw, method='gaussians_of')
    views = jnp.stack([label, others], axis=1)  # [b, 2, 25]
    scene = apply(w, method='prepare')
    splats = apply(scene, cameras.from_label(views), options, method='splat').composite
    cosine = rays.camera_rays(cameras.from_label(label), 32, False).axis_cosine[..., 0]
    return {
      'stage.ws': w,
      'stage.ws_psi07': apply(z, label, 0.7, average, method='map'),
      'stage.ws_psi07_cutoff3': apply(z, label, 0.7, average, 3, method='map'),
      **{f'stage.raw.{name}': x for name, x in zip(NAMES, raw, strict=True)},
      'stage.act.position': own.means,
      'stage.act.rotation': own.quaternions,
      'stage.act.color': own.harmonics.reshape(*own.opacities.shape, -1),
      'stage.act.opacity': raw.opacity,
      'stage.scale_exp': own.scales,
      'stage.act.scale': jnp.log(own.scales),
      'stage.opacity_act': own.opacities[..., None],
      'out.image': 2 * splats.colour[:, 0] - 1,
      'out.image_c2': 2 * splats.colour[:, 1] - 1,
      'out.mask': 2 * splats.opacity[:, 0, ..., None] - 1,
      'out.alpha': splats.opacity[:, 0],
      'out.depth': splats.depth[:, 0] * cosine.reshape(-1, 32, 32),
    }

  return jax.device_get(run(arrays['in.z'], arrays['in.c'], arrays['in.c2']))


NAMES = ('position', 'scale', 'rotation', 'color', 'opacity')


@pytest.mark.parametrize('form', golden.FORMS)
def test_all_stages(form):
  arrays = goldens.load(golden.file(form))
  for name, ours in stages(form).items():
    if name in arrays:
      ours = nchw(ours) if ours.shape[-1] in (1, 3) and ours.shape[1] == 32 else ours
      goldens.compare(golden.file(form), name, ours, relative=FORWARD)


@functools.cache
def programs(form):
  """(generator's, discriminator's, R1's) values and gradients for inputs and images of training."""
  config, generator, discriminator, networks = golden.model(form)
  (stage,) = schedule.stages(config, None)
  losses = gghead_losses.make_losses(config, generator, discriminator, stage)

  def program(loss, name):
    def run(inputs, images):
      f = lambda params: loss(params, networks, inputs, Now(images // 32, images))  # noqa: E731
      return jax.value_and_grad(f, has_aux=True)(networks.params[name])

    return jax.jit(run)

  return (
    program(losses.generator, 'generator'),
    program(losses.discriminator, 'discriminator'),
    program(losses.r1, 'discriminator'),
  )


@pytest.fixture
def release_variation(monkeypatch):
  """The mean over all images' pairs together, as the release's."""

  def together(places, opacity):
    pairs = gaussian_losses.variations(places, opacity)
    return sum(total.sum() / count.sum() for total, count in pairs)

  monkeypatch.setattr(gaussian_losses, 'map_variation', together)


def inputs_of(arrays, condition):
  label = arrays['in.c']
  return Inputs(
    z=arrays['in.z'],
    camera=cameras.from_label(label),
    condition=condition,
    label=label,
    images=nhwc(arrays['in.real']),
    image_label=arrays['in.real_c'],
  )


# The released form's losses are the consistent one's without the second stage's terms.
@pytest.mark.parametrize('form', golden.FORMS[:1])
def test_the_generators_loss(form, release_variation):
  arrays, name = goldens.load(golden.file(form)), golden.file(form)
  for moment, images in (('start', golden.START), ('half', golden.HALF)):
    inputs = inputs_of(arrays, arrays[f'{moment}.g.c_mapping'])
    (_, terms), gradients = programs(form)[0](inputs, np.float32(images))
    of = functools.partial(mean_of, arrays, f'{moment}.g.')
    metrics = terms.metrics
    assert golden.error(metrics['generator/adversarial'], of('G_loss')) < FORWARD
    for ours, weight in (('position', 0.1), ('scale', 0.05)):
      expected = weight * of(f'G_reg_raw_gaussian_{ours}')
      assert golden.error(metrics[f'generator/{ours}'], expected) < FORWARD
    if form == 'consistent':
      beta = arrays[f'{moment}.g.G_beta_loss']
      assert golden.error(metrics['generator/beta'], beta) < FORWARD
      variation = arrays[f'{moment}.g.G_reg_tv_uv_rendering']
      assert golden.error(metrics['generator/variation'], 100 * variation) < FORWARD
    state = gghead_names.generator_state(with_buffers(form, gradients))
    found = {key: x for key, x in state.items() if f'{moment}.ggrad.{key}' in arrays}
    assert len(found) > (40 if moment == 'half' else -1)
    for key, ours in found.items():
      goldens.compare(name, f'{moment}.ggrad.{key}', ours, relative=GRADIENTS)


def mean_of(arrays, prefix, key):
  return arrays[prefix + key].mean()


def with_buffers(form, gradients):
  """A tree as a converter takes it."""
  return {**golden.model(form)[3].buffers['generator'], **gradients}


@pytest.mark.parametrize('form', golden.FORMS[:1])
def test_the_discriminators_loss(form):
  arrays, name = goldens.load(golden.file(form)), golden.file(form)
  _, of_fakes, of_r1 = programs(form)
  inputs = inputs_of(arrays, arrays['half.d.c_mapping'])
  (_, terms), gradients = of_fakes(inputs, np.float32(golden.HALF))
  (penalty, r1_terms), r1_gradients = of_r1(inputs, np.float32(golden.HALF))
  metrics = terms.metrics
  for ours, theirs in (
    (metrics['discriminator/adversarial'], 'D_loss'),
    (metrics['discriminator/fake_logits'], 'scores_fake'),
    (metrics['discriminator/real_logits'], 'scores_real'),
    (r1_terms.metrics['discriminator/r1'], 'r1_penalty'),
    (penalty, 'D_reg'),
  ):
    assert golden.error(ours, arrays[f'half.d.{theirs}'].mean()) < FORWARD, theirs
  average = terms.buffers['generator']['w_average']
  goldens.compare(name, 'half.w_avg_after_d', average, relative=FORWARD)
  gradients = jax.tree.map(jnp.add, gradients, r1_gradients)
  prefix = 'half.dgrad.'
  theirs = {k.removeprefix(prefix): x for k, x in arrays.items() if k.startswith(prefix)}
  theirs = eg3d_names.discriminator_params(theirs)
  worst = jax.tree.map(golden.error, gradients, theirs)
  assert max(jax.tree.leaves(worst)) < GRADIENTS, worst
