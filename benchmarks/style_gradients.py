"""The gradients of StyleSDF and StyleNeRF by part, here against plain PyTorch, in one run.

  pip install torch
  python -m benchmarks.style_gradients                                # a table, see `style`
  taskset -c 1 python -m benchmarks.style_gradients --processor_time  # a busy machine

| case | part | gradient of |
|---|---|---|
| sdf | field | 32² rays of 24 samples, all parameters of the field |
| sdf | field, eikonal | the same with the eikonal term of all samples, a second derivative |
| sdf | decoder | 64² to 256², all parameters of the decoder; features are frozen, as in stage 2 |
| nerf | field | 32² rays of 14 + 14 + 4 samples, all parameters of both fields |
| nerf | up-sampler | 32² to 256², all its parameters and the features |

Networks have the papers' sizes of 256² (random weights, batch 1). GFLOP are the products that a
gradient needs: three times those of the values, six times with the second derivative (the layers
before the distance), less the gradient of inputs that are frozen. What is computed again to save
memory does not count.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import style
from benchmarks.style import nchw, tensor
from benchmarks.torch_eg3d import _leaves
from jax3dgan.fields.sdf_siren import Penalties
from jax3dgan.nn import backend
from jax3dgan.tools import flops

LOW = 32  # pixels on a side that StyleSDF renders here, a quarter of the paper's


def sdf(low=LOW, **fields):
  """{part: (ours, PyTorch's, GFLOP)} of StyleSDF.

  Args:
    low: pixels on a side of what the field renders.
    fields: of the config, other values.
  """
  alone = {'model.decoder_channels': (), 'resolution': low}
  field = style.Sdf(style.load('stylesdf_ffhq256', **fields | alone), 1)
  return {
    **_sdf_field(field),
    **_sdf_decoder(style.Sdf(style.load('stylesdf_ffhq256', **fields), 1)),
  }


def _sdf_field(m):
  w = jax.jit(lambda v: m.generator.apply(v, m.z, method='map'))(m.variables)
  their_w = tensor(w)
  m.theirs.sharpness = 100.0

  def loss(params, penalties=None):
    render = functools.partial(m.generator.apply, has_features=True, method='render')
    variables = {**m.variables, 'params': {**m.variables['params'], 'field': params}}
    out = render(variables, w, m.camera, m.draws, m.options, penalties=penalties)
    total = jnp.mean(out.colour[..., 3:] ** 2)
    return total + out.means['eikonal'].mean() if penalties else total

  def their_loss(penalised=False):
    _, features, *terms = m.theirs.render(their_w, *m.rays, m.options, m.offset, penalised)
    return features.square().mean() + (terms[0] if penalised else 0)

  def with_trunk(times):
    f, samples = m.generator, m.size**2 * m.options.num_coarse
    h, trunk = f.hidden_dim, 3 * f.hidden_dim + (f.num_layers - 1) * f.hidden_dim**2 + f.hidden_dim
    return 2e-9 * samples * (times * trunk + 3 * (h**2 + 3 * h))

  own, theirs = m.variables['params']['field'], m.theirs.p['field']
  name = 'film_1_kernel'
  parts = {}
  for part, penalties, times in (('field', None, 3), ('field, eikonal', Penalties(), 6)):
    gradient = _gradient(
      functools.partial(loss, penalties=penalties), own,
      functools.partial(their_loss, penalties is not None), list(theirs.values()), theirs[name],
    )  # fmt: skip
    parts[part] = (*_of_leaf(gradient, name), with_trunk(times))
  return parts


def _sdf_decoder(m):
  g, size = m.generator, m.generator.low_resolution
  w = jax.jit(lambda v: g.apply(v, m.z, method='map'))(m.variables)
  features = np.random.default_rng(1).uniform(-1, 1, (1, size, size, g.hidden_dim))
  features = features.astype(np.float32)
  their, their_w = nchw(features), tensor(w[:, 0, : g.w_dim])
  names = ('decoder', 'decoder_mapping')

  def loss(params):
    variables = {**m.variables, 'params': {**m.variables['params'], **params}}
    # The styles follow from the renderer's by the mapping, which is trained too.
    styles = g.apply(variables, m.z, method='map')[:, 1:]
    return jnp.mean(g.apply(variables, features, styles, method='decode') ** 2)

  params = {name: m.variables['params'][name] for name in names}
  block = f'b{2 * size}'
  leaf = m.theirs.p['decoder'][block]['conv1']['conv']['kernel']
  own, theirs = _gradient(
    loss, params, lambda: m.theirs.decode(their, their_w).square().mean(),
    list(_leaves({name: m.theirs.p[name] for name in names})), leaf,
  )  # fmt: skip
  first = 2e-9 * 9 * size**2 * g.hidden_dim * g.decoder_channels[0]  # needs no inputs' gradient
  gflop = 3 * _gflop(loss, params) - first
  flat = lambda x: x.reshape(-1, x.shape[-1])  # noqa: E731
  return {
    'decoder': (
      lambda: flat(own()['decoder'][block]['conv1']['conv']['kernel']), lambda: flat(theirs()),
      gflop,
    )
  }  # fmt: skip


def nerf(**fields):
  """{part: (ours, PyTorch's, GFLOP)} of StyleNeRF."""
  config = style.load('stylenerf_ffhq256', **fields)
  m = style.Nerf(config, 1, config.model.low_resolution << len(config.model.channels))
  g, size = m.generator, m.size
  w = jax.jit(lambda v: g.apply(v, m.z, method='map'))(m.variables)
  their_w = tensor(w[:, 0])
  of_camera = functools.partial(style._pixels, m.camera, m.options)
  fields = tuple(x for x in ('foreground', 'background') if x in m.variables['params'])

  def with_params(params):
    return {**m.variables, 'params': {**m.variables['params'], **params}}

  def of_field(params):
    pixels = g.apply(with_params(params), w, method=of_camera)
    return jnp.mean(pixels.rgb**2) + jnp.mean(pixels.features**2)

  def their_field():
    values = m.theirs.render(their_w, m.code, *m.rays, m.options)
    return values[..., :3].square().mean() + values[..., 3:].square().mean()

  values = np.random.default_rng(1).standard_normal((1, size, size, 3 + g.feature_dim), np.float32)
  their_values = nchw(values).requires_grad_(True)

  def of_upsampler(inputs):
    params, values = inputs
    image = g.apply(with_params({'upsampler': params}), values, w, method=style._upsampled)
    return jnp.mean(image**2)

  params = {name: m.variables['params'][name] for name in fields}
  leaf = m.theirs.p['foreground']['fc_1']['kernel']
  field, their = _gradient(
    of_field, params, their_field, list(_leaves({name: m.theirs.p[name] for name in fields})), leaf
  )
  block = f'b{2 * size}'
  inputs = (m.variables['params']['upsampler'], jnp.asarray(values))
  leaf = m.theirs.p['upsampler'][block]['conv1']['kernel']
  upsampler, their_upsampler = _gradient(
    of_upsampler, inputs, lambda: m.theirs.upsample(their_values, their_w).square().mean(),
    [*_leaves(m.theirs.p['upsampler']), their_values], leaf,
  )  # fmt: skip
  gflop = 3 * _gflop(of_upsampler, inputs)
  return {
    'field': (lambda: field()['foreground']['fc_1']['kernel'], their, 3 * m.gflop()),
    'up-sampler': (lambda: upsampler()[0][block]['conv1']['kernel'], their_upsampler, gflop),
  }


def _gradient(loss, params, their_loss, parameters, leaf):
  """(ours, PyTorch's): functions that give all of the gradient, and that of a leaf."""
  compiled = jax.jit(jax.grad(loss)).lower(params).compile()

  def run():
    for value in parameters:
      value.requires_grad_(True)
      value.grad = None
    their_loss().backward()
    for value in parameters:
      value.requires_grad_(False)
    return leaf.grad

  return functools.partial(compiled, params), run


def _gflop(function, *arguments):
  """GFLOPs of a function's products in an accelerator's forms, which have the fewest."""
  with backend.lowering_for('gpu'):
    return flops.products(jax.make_jaxpr(function)(*arguments).jaxpr) / 1e9


def _of_leaf(gradient, name):
  ours, theirs = gradient
  return lambda: ours()[name], theirs


CASES = {'sdf': sdf, 'nerf': nerf}

if __name__ == '__main__':
  style.main(CASES, __doc__)
