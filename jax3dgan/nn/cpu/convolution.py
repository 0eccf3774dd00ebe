"""Convolutions, their gradients, and those of transposed convolutions.

XLA's CPU back end is slow on the convolutions that gradients of a strided one are: shifted slices
and one product of matrices are not. The two that gradients of an unstrided one are it brings to the
layout that its fast kernels take (channels last) in a program's entry only; in a branch or a loop
they run as plain loops, 60 to 150 times as slow (a kernel's gradient for 16 images of 64², 32
channels: 1,500 ms instead of 10). `canonical_conv` has the transposes written out, so that every
convolution has that layout.

Images are [b, h, w, c], kernels [kh, kw, c_in, c_out].
"""

import jax
import jax.numpy as jnp

from jax3dgan.nn import precision
from jax3dgan.nn.primitives import bilinear

# By the number of axes between examples and channels.
_DIMENSIONS = {2: ('NHWC', 'HWIO', 'NHWC'), 3: ('NDHWC', 'DHWIO', 'NDHWC')}
# Zeros on every side, or before and after, the same for all axes.
Padding = int | tuple[int, int]


def reference_conv(x, kernel, stride: int = 1, padding: Padding = 0, dilation: int = 1, **options):
  """XLA's own convolution of images, or of voxels [b, d, h, w, c], left to autodiff.

  `dilation` − 1 zeros come between two pixels of the image; `options` are those of
  `jax.lax.conv_general_dilated`.
  """
  num_axes = kernel.ndim - 2
  padding = (padding, padding) if isinstance(padding, int) else padding
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride,) * num_axes,
    (padding,) * num_axes,
    lhs_dilation=(dilation,) * num_axes,
    dimension_numbers=_DIMENSIONS[num_axes],
    **options,
  )


def _plain(x, kernel, *, padding, policy):
  dtype, inputs = x.dtype, precision.POLICIES[policy].inputs
  if inputs is not None:
    # XLA's CPU back end has no convolution of these either: it multiplies them as float32.
    x, kernel = (
      precision.rounded_float32(precision.round_input(a, inputs)).astype(dtype) for a in (x, kernel)
    )
  return reference_conv(x, kernel, 1, padding, precision=jax.lax.Precision.HIGHEST)


def _transposed(g, x, kernel, *, padding, policy):
  """The cotangent of the input of a square kernel's convolution."""
  turned = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
  return _canonical_conv(g, turned, padding=kernel.shape[0] - 1 - padding, policy=policy)


def _map_examples(args, axes, **options):
  """vmap of images over one kernel: more images."""
  if axes[1] is None:
    x = jnp.moveaxis(args[0], axes[0], 0)
    y = _canonical_conv(x.reshape(-1, *x.shape[2:]), args[1], **options)
    return y.reshape(*x.shape[:2], *y.shape[1:]), 0
  return jax.vmap(lambda x, kernel: _plain(x, kernel, **options), axes)(*args), 0


_canonical_conv = bilinear(
  'canonical_conv',
  _plain,
  _transposed,
  lambda g, x, kernel, **options: _kernel_gradient(x, g, **options),
  batch=_map_examples,
)


# Of few channels, or small maps, products of matrices are not faster than XLA's convolution.
_FEW_CHANNELS, _SMALL_MAP = 32, 8
# Pixels whose patches are in a cache, and the least of rows, each of which is read that often more.
_PIXELS, _ROWS = 512, 4


def _correlated(x, g, *, padding, policy):
  """[b, h, w, c] and [b, h', w', f] → [k, k, c, f]."""
  (_, h, _, c), (_, rows, _, f) = x.shape, g.shape
  if max(c, f) >= _FEW_CHANNELS and _SMALL_MAP <= rows <= h:
    return _correlated_rows(x, g, padding, precision.of_convolution(policy))
  # Channels take the place of examples.
  x, g = jnp.transpose(x, (3, 1, 2, 0)), jnp.transpose(g, (1, 2, 0, 3))
  return jnp.transpose(_plain(x, g, padding=padding, policy=policy), (1, 2, 0, 3))


def _correlated_rows(x, g, padding: int, policy: str):
  """The same, from products of matrices of some rows at a time, whose patches stay in a cache.

  XLA's convolution, whose window is then the whole map, takes 1.0 to 2.5 times as long, with one
  core (16 images of 32², 128 to 128 channels: 49 ms, not 25; 1 of 256²: 208, not 107).
  """
  (b, h, w, c), (_, rows, columns, f) = x.shape, g.shape
  k = h + 2 * padding - rows + 1
  most = min(rows, max(_ROWS, _PIXELS // columns))
  size = next(n for n in range(most, 0, -1) if rows % n == 0)
  strips = rows // size

  def strip(total, index):
    example, top = index // strips, index % strips * size

    def row(i):  # zeros beyond the image
      pixels = jax.lax.dynamic_slice(x, (example, i, 0, 0), (1, 1, w, c))[0]
      return jnp.where((i >= 0) & (i < h), pixels, 0)

    before = [row(top - i) for i in range(padding, 0, -1)]
    after = [row(top + size + i) for i in range(k - 1 - padding)]
    middle = jax.lax.dynamic_slice(x, (example, top, 0, 0), (1, size, w, c))[0]
    part = jnp.transpose(jnp.concatenate([*before, middle, *after]), (2, 0, 1))
    part = jnp.pad(part, ((0, 0), (0, 0), (padding, padding)))
    shifted = jnp.stack([part[:, :, j : j + columns] for j in range(k)])
    shifted = shifted.reshape(k * c, -1)
    of_output = jax.lax.dynamic_slice(g, (example, top, 0, 0), (1, size, columns, f))
    of_output = of_output.reshape(size * columns, f)
    products = [
      precision.einsum(
        'cn,nf->cf', shifted[:, i * columns : (i + size) * columns], of_output, policy
      )
      for i in range(k)
    ]
    return total + jnp.stack(products), None

  zeros = jnp.zeros((k, k * c, f), x.dtype)
  total, _ = jax.lax.scan(strip, zeros, jnp.arange(b * strips))
  return total.reshape(k, k, c, f)


_kernel_gradient = bilinear(
  'kernel_gradient',
  _correlated,
  lambda kernel, x, g, **options: _transposed(g, x, kernel, **options),
  lambda kernel, x, g, **options: _canonical_conv(x, kernel, **options),
)


def canonical_conv(x, kernel, padding: int = 0, policy: str = 'float32'):
  """`reference_conv` without a stride, of a square kernel, under a policy of `nn.precision` whose
  backward products take the same: 'float32' or 'bfloat16'."""
  return _canonical_conv(x, kernel, padding=padding, policy=policy)


def output_size(size: int, kernel_size: int, stride: int, padding: int) -> int:
  """Pixels on a side of the result."""
  return (size + 2 * padding - kernel_size) // stride + 1


def patches_conv(x, kernel, stride: int, padding: int, policy: str = 'float32'):
  """`reference_conv` as one product of matrices under a policy of `nn.precision`."""
  policy = precision.of_convolution(policy)
  b, h, w, c = x.shape
  kh, kw, _, features = kernel.shape
  rows, columns = (output_size(n, k, stride, padding) for n, k in ((h, kh), (w, kw)))
  # Split into stride x stride phases, so that every slice is contiguous: strided slices, and above
  # all their derivatives, are slow on a CPU.
  high = (padding + -(h + 2 * padding) % stride, padding + -(w + 2 * padding) % stride)
  x = jnp.pad(x, ((0, 0), (padding, high[0]), (padding, high[1]), (0, 0)))
  x = x.reshape(b, x.shape[1] // stride, stride, x.shape[2] // stride, stride, c)
  slices = []
  for i in range(kh):
    for j in range(kw):
      (top, row_phase), (left, column_phase) = divmod(i, stride), divmod(j, stride)
      slices.append(x[:, top : top + rows, row_phase, left : left + columns, column_phase])
  patches = jnp.concatenate(slices, axis=-1)  # [b, rows, columns, kh * kw * c], as in the kernel
  return precision.rows_product(patches, kernel.reshape(-1, features), policy)


def patches_conv_transpose(x, kernel, stride: int, policy: str = 'float32'):
  """`reference_conv` with `dilation` stride and `padding` k − 1, of voxels too: one product of
  matrices gives each pixel's share of its k² targets, and shifted sums collect them.

  The gradients of 16 images of 8² to 16², 128 to 64 channels, filter included, take 15 ms on one
  core, those of XLA's form 114.
  """
  policy = precision.of_convolution(policy)
  *sizes, _, features = kernel.shape
  axes = range(1, len(sizes) + 1)
  # A pixel reaches its k² targets in the reverse order of the correlation's.
  shares = jnp.moveaxis(jnp.flip(kernel, [axis - 1 for axis in axes]), -2, 0)
  x = precision.rows_product(x, shares.reshape(x.shape[-1], -1), policy)
  x = x.reshape(*x.shape[:-1], *sizes, features)
  for axis in axes:
    x = collect(x, axis, len(sizes) + 1, stride)
  return x


def collect(x, axis: int, taps: int, stride: int):
  """Adds x [b, h, w, k, ..., f] into places i·stride + t of `axis`; the axis `taps`, that of t,
  is removed."""
  k, n = x.shape[taps], x.shape[axis]
  length = n + (k - 1) // stride
  phases = []
  for q in range(min(stride, k)):
    parts = [
      pad_axis(
        jax.lax.index_in_dim(x, t, taps, keepdims=False),
        axis,
        t // stride,
        length - n - t // stride,
      )
      for t in range(q, k, stride)
    ]
    phases.append(sum(parts))
  phases += [jnp.zeros_like(phases[0])] * (stride - len(phases))
  return interleave(phases, axis, (n - 1) * stride + k)


def pad_axis(x, axis: int, before: int, after: int):
  """Zeros around an axis; negative numbers cut."""
  config = [(0, 0, 0)] * x.ndim
  config[axis] = (before, after, 0)
  return jax.lax.pad(x, jnp.zeros((), x.dtype), config)


def interleave(phases, axis: int, size: int):
  """Phases [..., m, ...] to one array whose axis begins with the first of each, cut to size."""
  single = len(phases) == 1
  x = phases[0] if single else jnp.stack(phases, axis + 1)
  shape = (*x.shape[:axis], -1, *x.shape[axis + (1 if single else 2) :])
  return jax.lax.slice_in_dim(x.reshape(shape), 0, size, axis=axis)
