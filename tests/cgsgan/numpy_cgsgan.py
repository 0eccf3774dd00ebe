"""CGS-GAN's generator in NumPy, float64, from the formulas of the papers, to compare ours with.

Weights are a tree as `CGSGAN`'s parameters; everything is of one object.
"""

import math

import numpy as np

_ERF = np.vectorize(math.erf)
SIZES = dict(position=3, scale=3, rotation=4, colour=3, opacity=1)


def dense(p, x, rate=1.0):
  return x @ p['kernel'] * (rate / math.sqrt(x.shape[-1])) + rate * p['bias']


def leaky(x):
  return math.sqrt(2) * np.where(x > 0, x, 0.2 * x)


def softplus(x):
  return np.logaddexp(0, x)


def mapping(p, z):
  x = z / np.sqrt(np.mean(z**2) + 1e-8)
  for i in range(len(p)):
    x = leaky(dense(p[f'fc_{i}'], x, 0.01))
  return x


def code(p, points):
  """[n, 3] in [−1, 1] → [n, c]."""
  waves = np.sin(points @ p['kernel'] + p['bias'])
  entries = np.linspace(-1, 1, p['tables'].shape[1])
  of_axes = [
    np.stack([np.interp(x, entries, column) for column in table.T], axis=1)
    for x, table in zip(points.T, p['tables'], strict=True)
  ]
  return np.concatenate([waves, sum(of_axes) / math.sqrt(3)], axis=1)


def ada_in(p, branch, x, w):
  x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
  return x * dense(p[f'{branch}_scale'], w) + dense(p[f'{branch}_offset'], w)


def attention(p, x, num_heads):
  n, c = x.shape
  q, k, v = np.split(dense(p['qkv'], x), 3, axis=1)
  out = np.zeros((n, c))
  for head in range(num_heads):
    own = slice(head * c // num_heads, (head + 1) * c // num_heads)
    logits = q[:, own] @ k[:, own].T / math.sqrt(c // num_heads)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    out[:, own] = weights / weights.sum(1, keepdims=True) @ v[:, own]
  return dense(p['out'], out)


def block(p, x, w, num_heads):
  y = attention(p['attention'], ada_in(p, 'attention', x, w), num_heads)
  x = x + dense(p['attention_gain'], w) * y
  y = dense(p['mlp_in'], ada_in(p, 'mlp', x, w))
  y = math.sqrt(2) * y * 0.5 * (1 + _ERF(y / math.sqrt(2)))
  return x + dense(p['mlp_gain'], w) * dense(p['mlp_out'], y)


def splitting(p, x, ratio):
  y = leaky(dense(p['points'], x))
  rows = [y[i].reshape(ratio, -1) + dense(p['skip'], x[i]) for i in range(len(x))]
  return np.concatenate(rows) / math.sqrt(2)


def attributes(p, x):
  ends = np.cumsum(list(SIZES.values()))[:-1]
  return dict(zip(SIZES, np.split(dense(p, x), ends, axis=1), strict=True))


def turned(q, v):
  """Vectors v turned by a quaternion (w, x, y, z)."""
  q = q / np.linalg.norm(q)
  cross = np.cross(q[1:], v)
  return v + 2 * (q[0] * cross + np.cross(q[1:], cross))


def bounded(level):
  return {k: x if k == 'position' else 20 * np.tanh(0.05 * x) for k, x in level.items()}


def first(out, model):
  """The first level, with no parent."""
  largest = math.log(0.5 * model.box / math.sqrt(model.num_points))
  logit = math.log(model.start_opacity / (1 - model.start_opacity))
  return bounded({
    'position': 0.2 * out['position'],
    'scale': largest - softplus(-(model.log_scale + out['scale'] - largest)),
    'rotation': np.array([1, 0, 0, 0]) + out['rotation'],
    'colour': out['colour'],
    'opacity': logit + out['opacity'],
  })  # fmt: skip


def children(parents, out, model):
  """Each Gaussian beside its parent, one by one."""
  start = math.log(0.5 * model.box / math.sqrt(model.num_points))
  least = 0.5 * model.box / model.target_resolution
  halvings = math.log2(2 * model.target_resolution / 4) - math.log2(4) - 1
  split_ratio = math.exp((start - math.log(least)) / halvings)
  level = {name: x.copy() for name, x in out.items()}
  ratio = len(out['opacity']) // len(parents['opacity'])
  for i in range(len(out['opacity'])):
    parent = {name: x[i // ratio] for name, x in parents.items()}
    inside = np.exp(parent['scale']) * np.tanh(out['position'][i])
    level['position'][i] = parent['position'] + turned(parent['rotation'], inside)
    smaller = math.log(split_ratio) if np.exp(parent['scale']).max() > least else 0
    level['scale'][i] = parent['scale'] - smaller - softplus(-out['scale'][i])
    for name in ('rotation', 'colour', 'opacity'):
      level[name][i] = parent[name] + out[name][i]
  return bounded(level)


def object_of(params, w, model):
  """(anchors, levels) of styles w [num_ws, w_dim]: lists of dicts."""
  x, anchors, levels = code(params['code'], np.tanh(params['points'])), [], []
  for i in range(model.num_ws):
    x = block(params[f'blocks_{i}'], x, w[i], model.num_heads)
    level = i + 1 - model.num_blocks
    if level < 0:
      continue
    features = splitting(params[f'splitting_{level}'], x, math.prod(model.ratios[: level + 1]))
    made = [
      attributes(params[f'{head}_{level}'], features)
      for head in ('heads', 'anchor_heads')
      if f'{head}_{level}' in params
    ]
    made = [children(anchors[-1], out, model) if anchors else first(out, model) for out in made]
    levels.append(made[0])
    anchors += made[1:]
  return anchors, levels


def drawn(levels, model):
  """Means, scales, quaternions, opacities, colours of all levels, as they are drawn."""
  every = {name: np.concatenate([level[name] for level in levels]) for name in SIZES}
  return (
    np.clip(every['position'], -0.5 * model.box, 0.5 * model.box),
    np.exp(every['scale']),
    every['rotation'],
    1 / (1 + np.exp(-every['opacity'][:, 0])),
    0.28209479177387814 * every['colour'] + 0.5,
  )
