"""Every generator with every discriminator under every recipe: trained, or refused in one line."""

import itertools

import jax
import numpy as np
import pytest
import tiny_steps

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.errors import UserError
from jax3dgan.training import schedule

_RESOLUTION = 8


def combined(generator: str, discriminator: str, recipe: str):
  """The smallest config of three names, nothing else changed than what makes it tiny."""
  config = config_lib.base_config(recipe)
  if discriminator != config.discriminator.name:
    config_lib.set_discriminator(config, discriminator)
  if generator != config.model.name:
    config_lib.set_model(config, generator)
  config = config_lib.tiny(config)
  size = _RESOLUTION if discriminator != 'hologan' else 16  # of one layer it has no buffers
  config.resolution, config.batch_size = size, 4
  for group, network in (
    ('model', generators.create(config)),
    ('discriminator', discriminators.create(config.discriminator)),
  ):
    config[group].update(network.tiny(size))
  if generator == 'eg3d':
    config.model.update(super_channels=(8,), super_ups=(2,))
  if discriminator == 'progressive':
    config.discriminator.channels = (4, 8, 8)
  return config


# How each pair is made to train, where it can: {(generator, discriminator, recipe): changes}.
# What is not here is refused, see REFUSED.
_FEW_PIXELS = {'stylenerf.nerf_path_pixels': 8}  # as many as the tests' images have on a side
_NO_HEADS = {'loss.pose': 0.0}
_NO_DENSITY = {'eg3d.density': 0.0}
_NO_LATENTS = {'loss.latent': 0.0}
_DECODER = {'stylesdf.random_renderer': True, 'model.decoder_channels': (8, 8)}
_DECODER |= {'model.low_resolution': 4, 'model.decoder_w_dim': 8, 'model.decoder_mapping_layers': 1}
TRAINS = {
  ('pigan', 'progressive', 'pigan'): {},
  ('pigan', 'stylegan2', 'pigan'): _NO_HEADS,
  ('stylegan2', 'progressive', 'pigan'): _NO_HEADS,
  ('stylegan2', 'stylegan2', 'pigan'): _NO_HEADS,
  ('eg3d', 'progressive', 'pigan'): {'model.label_dim': 0},
  ('eg3d', 'stylegan2', 'pigan'): {'model.label_dim': 0, **_NO_HEADS},
  ('pigan', 'progressive', 'eg3d'): {},
  ('pigan', 'stylegan2', 'eg3d'): _NO_DENSITY,
  ('stylegan2', 'progressive', 'eg3d'): _NO_DENSITY,
  ('stylegan2', 'stylegan2', 'eg3d'): _NO_DENSITY,
  ('eg3d', 'progressive', 'eg3d'): _NO_DENSITY,
  ('eg3d', 'stylegan2', 'eg3d'): _NO_DENSITY,
  ('eg3d', 'dual', 'eg3d'): {},
  ('pigan', 'stylenerf', 'pigan'): _NO_HEADS,
  ('stylegan2', 'stylenerf', 'pigan'): _NO_HEADS,
  ('eg3d', 'stylenerf', 'pigan'): {'model.label_dim': 0, **_NO_HEADS},
  ('pigan', 'stylenerf', 'eg3d'): _NO_DENSITY,
  ('stylegan2', 'stylenerf', 'eg3d'): _NO_DENSITY,
  ('eg3d', 'stylenerf', 'eg3d'): _NO_DENSITY,
  ('stylenerf', 'progressive', 'pigan'): {},
  ('stylenerf', 'stylegan2', 'pigan'): _NO_HEADS,
  ('stylenerf', 'stylenerf', 'pigan'): _NO_HEADS,
  ('stylenerf', 'progressive', 'eg3d'): {},
  ('stylenerf', 'stylegan2', 'eg3d'): _NO_DENSITY,
  ('stylenerf', 'stylenerf', 'eg3d'): _NO_DENSITY,
  ('stylenerf', 'dual', 'eg3d'): _NO_DENSITY,
  ('stylenerf', 'progressive', 'stylenerf'): _FEW_PIXELS,
  ('stylenerf', 'stylegan2', 'stylenerf'): _FEW_PIXELS,
  ('stylenerf', 'stylenerf', 'stylenerf'): _FEW_PIXELS,
  ('stylesdf', 'stylegan2', 'stylesdf_stage1'): _NO_HEADS,
  ('stylesdf', 'coordconv', 'stylesdf_stage1'): {},
  ('stylesdf', 'stylegan2', 'stylesdf'): _DECODER,
  ('stylesdf', 'coordconv', 'stylesdf'): _DECODER,
  ('graf', 'patch', 'graf'): {},
  ('graf', 'stylegan2', 'graf'): {},
  ('graf', 'coordconv', 'graf'): {},
  ('graf', 'hologan', 'graf'): {},
  ('pigan', 'patch', 'graf'): {},
  ('pigan', 'stylegan2', 'graf'): {},
  ('pigan', 'coordconv', 'graf'): {},
  ('pigan', 'hologan', 'graf'): {},
  ('graf', 'hologan', 'hologan'): {},
  ('graf', 'stylegan2', 'hologan'): _NO_LATENTS,
  ('graf', 'progressive', 'pigan'): {},
  ('graf', 'stylegan2', 'pigan'): _NO_HEADS,
  ('graf', 'stylenerf', 'pigan'): _NO_HEADS,
  ('graf', 'progressive', 'eg3d'): {},
  ('graf', 'stylegan2', 'eg3d'): _NO_DENSITY,
  ('graf', 'stylenerf', 'eg3d'): _NO_DENSITY,
  ('hologan', 'progressive', 'pigan'): {},
  ('hologan', 'stylegan2', 'pigan'): _NO_HEADS,
  ('hologan', 'stylenerf', 'pigan'): _NO_HEADS,
  ('hologan', 'progressive', 'eg3d'): _NO_DENSITY,
  ('hologan', 'stylegan2', 'eg3d'): _NO_DENSITY,
  ('hologan', 'stylenerf', 'eg3d'): _NO_DENSITY,
  ('hologan', 'hologan', 'hologan'): {},
  ('hologan', 'stylegan2', 'hologan'): _NO_LATENTS,
  ('pigan', 'hologan', 'hologan'): {},
  ('pigan', 'stylegan2', 'hologan'): _NO_LATENTS,
  ('stylegan2', 'hologan', 'hologan'): {},
  ('stylegan2', 'stylegan2', 'hologan'): _NO_LATENTS,
  ('eg3d', 'hologan', 'hologan'): {'model.label_dim': 0},
  ('eg3d', 'stylegan2', 'hologan'): {'model.label_dim': 0, **_NO_LATENTS},
  ('stylenerf', 'hologan', 'hologan'): _NO_LATENTS,
  ('stylenerf', 'stylegan2', 'hologan'): _NO_LATENTS,
}
# Gaussians are drawn at pixels' centres.
_CENTRES = {'render.align_corners': False}
_OF_GAUSSIANS = ('gghead', 'cgsgan')
TRAINS |= {
  (generator, discriminator, recipe): changes | _CENTRES
  for generator in _OF_GAUSSIANS
  for recipe, losses in (('pigan', _NO_HEADS), ('eg3d', _NO_DENSITY))
  for discriminator, changes in (
    ('progressive', {} if recipe == 'pigan' else losses),
    ('stylegan2', losses),
    ('stylenerf', losses),
  )
}
TRAINS |= {
  (name, discriminator, name): {}
  for name in _OF_GAUSSIANS
  for discriminator in ('stylegan2', 'coordconv')
}
TRAINS |= {
  (generator, 'coordconv', recipe): changes | _NO_LATENTS
  for (generator, discriminator, recipe), changes in TRAINS.items()
  if (discriminator, recipe) == ('stylegan2', 'hologan')
}
TRAINS |= {
  (generator, 'patch', recipe): changes | _NO_LATENTS
  for (generator, discriminator, recipe), changes in TRAINS.items()
  if (discriminator, recipe) == ('stylegan2', 'hologan')
}
# These train in tests of their own, with everything switched on.
TRAINED_ELSEWHERE = {
  ('pigan', 'progressive', 'pigan'): 'training/test_steps.py',
  ('stylegan2', 'progressive', 'pigan'): 'training/test_steps.py',
  ('stylegan2', 'stylegan2', 'pigan'): 'discriminators/test_stylegan2_discriminator.py',
  ('eg3d', 'dual', 'eg3d'): 'eg3d/test_eg3d_steps.py',
  ('stylenerf', 'stylenerf', 'stylenerf'): 'recipes/test_stylenerf_recipe.py',
  ('stylesdf', 'coordconv', 'stylesdf_stage1'): 'stylesdf/test_stylesdf_steps.py',
  ('stylesdf', 'stylegan2', 'stylesdf'): 'stylesdf/test_stylesdf_steps.py',
  ('hologan', 'hologan', 'hologan'): 'recipes/test_hologan_recipe.py',
  ('graf', 'patch', 'graf'): 'graf/test_graf_train.py',
  ('gghead', 'stylegan2', 'gghead'): 'gghead/test_gghead_recipe.py',
  ('cgsgan', 'stylegan2', 'cgsgan'): 'cgsgan/test_cgsgan_recipe.py',
}
# Each network of theirs trains in another pair, 'stylenerf' with 'stylegan2' under 'pigan'.
LIKE_ANOTHER = {
  ('pigan', 'stylenerf', 'pigan'),
  ('eg3d', 'stylenerf', 'pigan'),
  ('pigan', 'stylenerf', 'eg3d'),
  ('stylegan2', 'stylenerf', 'eg3d'),
  ('eg3d', 'stylenerf', 'eg3d'),
  *(names for names in TRAINS if names[0] == 'stylenerf'),  # which trains under its own recipe
  ('stylesdf', 'stylegan2', 'stylesdf_stage1'),
  ('stylesdf', 'coordconv', 'stylesdf'),
  # What it adds to others is an image alone; under its recipe others are traced with one each.
  *(names for names in TRAINS if names[0] == 'hologan' and names[1] != 'progressive'),
  *(names for names in TRAINS if names[2] == 'hologan' and names[0] in ('eg3d', 'stylenerf')),
  *(names for names in TRAINS if names[1:] == ('coordconv', 'hologan')),
  *(names for names in TRAINS if 'graf' in (names[0], names[2])),
  *(names for names in TRAINS if names[0] in _OF_GAUSSIANS),  # an image, as all others
  *(names for names in TRAINS if names[1:] == ('patch', 'hologan')),
}
# 'coordconv' is 'progressive' of one size, to everybody but itself.
_COORDCONV = {
  (generator, 'coordconv', recipe): changes
  for (generator, discriminator, recipe), changes in TRAINS.items()
  if discriminator == 'progressive'
}
TRAINS |= _COORDCONV
LIKE_ANOTHER |= _COORDCONV.keys()
# 'dcgan' is 'stylegan2' without labels, to everybody but itself.
_DCGAN = {
  (generator, 'dcgan', recipe): changes
  for (generator, discriminator, recipe), changes in TRAINS.items()
  if discriminator == 'stylegan2'
}
TRAINS |= _DCGAN | {
  ('giraffe', name, 'giraffe'): {} for name in ('dcgan', 'stylegan2', 'coordconv')
}
TRAINED_ELSEWHERE['giraffe', 'dcgan', 'giraffe'] = 'recipes/test_giraffe_recipe.py'
LIKE_ANOTHER |= _DCGAN.keys() | {
  ('giraffe', name, 'giraffe') for name in ('stylegan2', 'coordconv')
}
# Networks whose steps run in tests of the recipe of their paper.
UNDER_ITS_OWN_RECIPE = {'stylenerf': 'recipes/test_stylenerf_recipe.py'}
# With --thorough these run, which takes a compilation each, and of the other pairs the step is
# traced. Generator and discriminator meet in images alone, and each network runs in one of the
# tests of above.
RUN = {
  ('eg3d', 'progressive', 'pigan'),
  ('pigan', 'progressive', 'eg3d'),
  ('stylegan2', 'stylegan2', 'eg3d'),
}
# R1, the longest to compile, depends on recipe and discriminator alone: once for each of these.
WITH_R1 = {
  ('pigan', 'progressive', 'eg3d'),
  ('stylegan2', 'stylegan2', 'eg3d'),
}
REFUSED = {
  ('pigan', 'dual', 'pigan'): 'takes pairs of two sizes',
  ('stylegan2', 'dual', 'pigan'): 'takes pairs of two sizes',
  ('eg3d', 'dual', 'pigan'): 'label_dim is 25',
  ('pigan', 'dual', 'eg3d'): 'takes pairs',
  ('stylegan2', 'dual', 'eg3d'): 'takes pairs',
  ('stylenerf', 'dual', 'pigan'): 'takes pairs of two sizes',
  ('stylenerf', 'dual', 'stylenerf'): 'takes pairs of two sizes',
}
REFUSED |= {
  (scene, discriminator, recipe): f"'{scene}' is a single scene without latents"
  for scene in ('nerf', 'gaussians')
  for discriminator in discriminators.DISCRIMINATORS
  for recipe in ('pigan', 'eg3d')
}
REFUSED |= {
  ('stylesdf', discriminator, recipe): 'no term that keeps it one'
  for discriminator in discriminators.DISCRIMINATORS
  for recipe in ('pigan', 'eg3d')
}
REFUSED |= {
  (generator, discriminator, 'stylenerf'): "Take the model 'stylenerf'"
  for generator in generators.GENERATORS
  for discriminator in discriminators.DISCRIMINATORS
  if generator != 'stylenerf'
}
REFUSED |= {('hologan', 'dual', recipe): 'takes pairs' for recipe in ('pigan', 'eg3d')}
REFUSED |= {
  (generator, discriminator, 'hologan'): message
  for generator in generators.GENERATORS
  for discriminator, message in (
    ('progressive', 'growing'),
    ('stylenerf', 'growing'),
    ('dual', 'takes pairs'),
  )
}
REFUSED |= {
  (generator, discriminator, 'hologan'): message
  for generator, message in (
    ('nerf', 'single scene without latents'),
    ('gaussians', 'single scene without latents'),
    ('stylesdf', 'no term that keeps it one'),
  )
  for discriminator in discriminators.DISCRIMINATORS
}
REFUSED |= {
  ('giraffe', discriminator, 'hologan'): 'takes pairs|growing|GIRAFFE renders|loss.latent'
  for discriminator in discriminators.DISCRIMINATORS
}
REFUSED |= {
  ('eg3d', discriminator, 'hologan'): 'label_dim is 25'
  for discriminator in ('progressive', 'stylenerf', 'dual')
}
_OF_SDFS = ('stylesdf', 'stylesdf_stage1')
REFUSED |= {
  (generator, discriminator, recipe): 'trains signed distances'
  for generator in generators.GENERATORS
  for discriminator in discriminators.DISCRIMINATORS
  for recipe in _OF_SDFS
  if generator != 'stylesdf'
}
_NOT_SINGLE = {'dual': 'takes pairs', 'progressive': 'growing', 'stylenerf': 'growing'}
REFUSED |= {
  ('stylesdf', discriminator, recipe): message
  for discriminator, message in _NOT_SINGLE.items()
  for recipe in _OF_SDFS
}
REFUSED |= {
  ('giraffe', discriminator, recipe): 'takes pairs|GIRAFFE renders|loss.pose'
  for discriminator in discriminators.DISCRIMINATORS
  for recipe in ('pigan', 'eg3d')
}
REFUSED |= {
  (generator, discriminator, 'giraffe'): "Take the model 'giraffe'"
  for generator in generators.GENERATORS
  for discriminator in discriminators.DISCRIMINATORS
  if generator != 'giraffe'
}
REFUSED |= {('giraffe', name, 'giraffe'): message for name, message in _NOT_SINGLE.items()}
REFUSED |= {
  (generator, 'hologan', recipe): 'spectral normalisation'
  for generator in generators.GENERATORS
  for recipe in recipes.RECIPES
  if recipe not in ('hologan', 'nerf', 'gaussians', 'graf')
}
_OF_PATCHES = dict(
  nerf='single scene without latents',
  gaussians='single scene without latents',
  stylesdf='no term that keeps it one',
  eg3d='label_dim is 25',
)
REFUSED |= {
  (generator, discriminator, 'graf'): _OF_PATCHES.get(generator, 'pixels alone')
  for generator in generators.GENERATORS
  for discriminator in discriminators.DISCRIMINATORS
  if generator not in ('graf', 'pigan')
}
REFUSED |= {
  (generator, discriminator, 'graf'): 'patches of one size'
  for generator in ('graf', 'pigan')
  for discriminator in ('dual', 'progressive', 'stylenerf')
}
REFUSED |= {('graf', 'dual', recipe): 'takes pairs' for recipe in ('pigan', 'eg3d')}
REFUSED |= {
  (generator, 'dual', recipe): 'takes pairs'
  for generator in _OF_GAUSSIANS
  for recipe in ('pigan', 'eg3d')
}
REFUSED |= {
  (generator, discriminator, 'hologan'): 'takes pairs|growing|align_corners|loss.latent'
  for generator in _OF_GAUSSIANS
  for discriminator in discriminators.DISCRIMINATORS
}
REFUSED |= {
  (generator, discriminator, recipe): f"Take the model '{recipe}'"
  for recipe in _OF_GAUSSIANS
  for generator in generators.GENERATORS
  for discriminator in discriminators.DISCRIMINATORS
  if generator != recipe and discriminator not in ('hologan', 'patch')
}
REFUSED |= {
  (name, discriminator, name): message
  for name in _OF_GAUSSIANS
  for discriminator, message in _NOT_SINGLE.items()
}
ADVERSARIAL = [name for name in recipes.RECIPES if recipes.create(name).discriminator != 'none']
# Its vectors move in few recipes.
REFUSED |= {
  (generator, 'patch', recipe): 'does not move'
  for generator in generators.GENERATORS
  for recipe in ADVERSARIAL
  if recipe not in ('graf', 'hologan')
}


def _of_expgan(generator, discriminator, recipe):
  """Its networks and its recipe train with each other alone, and with a face model, which these
  configs do not name."""
  if recipe != 'expgan':
    return "needs what the recipe 'expgan' gives"
  if discriminator in ('hologan', 'patch'):
    return 'spectral normalisation|does not move'
  if generator != 'expgan':
    return "which the model '"
  if discriminator != 'expgan':
    return "which the discriminator '"
  return 'is not rendered from a face model'


REFUSED |= {
  names: _of_expgan(*names)
  for names in itertools.product(generators.GENERATORS, discriminators.DISCRIMINATORS, ADVERSARIAL)
  if 'expgan' in names
}
ALL = list(
  itertools.product(
    generators.GENERATORS,
    discriminators.DISCRIMINATORS,
    ADVERSARIAL,
  )
)


def test_every_combination_is_in_one_of_the_two_tables():
  assert set(ALL) == TRAINS.keys() | REFUSED.keys() and not TRAINS.keys() & REFUSED.keys()


def test_every_network_runs_somewhere():
  for i in (0, 1):
    runs = {names[i] for names in TRAINED_ELSEWHERE} | UNDER_ITS_OWN_RECIPE.keys()
    assert {names[i] for names in TRAINS} <= runs


def check(config):
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipes.check(config, *networks, schedule.stages(config))


def accepted(names):
  config = combined(*names)
  config.update_from_flattened_dict(TRAINS[names])
  check(config)
  return config


@pytest.mark.parametrize('names', TRAINS, ids='-'.join)
def test_it_is_accepted(names):
  accepted(names)


@pytest.mark.thorough
@pytest.mark.parametrize(
  'names',
  [names for names in TRAINS if names not in TRAINED_ELSEWHERE and names not in LIKE_ANOTHER],
  ids='-'.join,
)
def test_it_trains(names):
  config = accepted(names)
  if names not in WITH_R1 and 'r1' in config.loss:
    config.loss.r1 = 0.0
  if names[2] == 'eg3d':
    config.eg3d.blur = 0.0  # of the image, whatever makes it
  if names[2] != 'hologan' or generators.create(config).has_field:  # refused without one
    config.render.num_fine = 0
  if names not in RUN:
    state, metrics = tiny_steps.shapes(config)
    assert state.step.shape == () and {x.shape for x in metrics.values()} == {()}
    return
  state, (_, metrics) = tiny_steps.Program(config).run(num_steps=2)
  assert state.step == 2
  losses = [f'{network}/loss' for network in ('generator', 'discriminator')]
  assert all(np.isfinite(metrics[name]) for name in losses), metrics
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state.networks))


@pytest.mark.parametrize('names', REFUSED, ids='-'.join)
def test_one_line_says_why_not(names):
  with pytest.raises(UserError, match=REFUSED[names]) as error:
    check(combined(*names))
  assert '\n' not in str(error.value)
