"""Linear operations with transposes of their own, as JAX primitives.

Where the transpose that autodiff makes of an operation is slow, another one can be given. With
`jax.custom_vjp` that would cost forward mode. A primitive keeps both modes, any order of them, vmap
and jit: the derivative of a linear operation is the operation itself, and its transpose is written
with such operations again.
"""

import functools
from collections.abc import Callable

import jax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

# What each of our primitives computes: its static options → a jitted function.
_COMPILED: dict[core.Primitive, Callable] = {}


def inner_jaxpr(eqn: core.JaxprEqn) -> core.ClosedJaxpr | None:
  """What one of our primitives computes where a jaxpr has it, in the form of the present platform;
  None for other primitives."""
  compiled = _COMPILED.get(eqn.primitive)
  if compiled is None:
    return None
  shapes = (jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars)
  return compiled(tuple(sorted(eqn.params.items()))).trace(*shapes).jaxpr


def _primitive(name: str, apply: Callable, batch: Callable | None):
  """A primitive that computes `apply`, without derivatives.

  Args:
    apply: arrays and static options by name → an array; ordinary JAX.
    batch: (arrays, axes, **options) → (array, axis) for vmap; None maps `apply`.
  """
  primitive = core.Primitive(name)

  @functools.cache
  def compiled(options):
    return jax.jit(functools.partial(apply, **dict(options)))

  _COMPILED[primitive] = compiled

  def run(*args, **options):
    return compiled(tuple(sorted(options.items())))(*args)

  # A network binds a primitive with the same shapes many times.
  @functools.cache
  def shape_of(shapes, options):
    shapes = (jax.ShapeDtypeStruct(*of) for of in shapes)
    return jax.eval_shape(functools.partial(apply, **dict(options)), *shapes)

  def abstract(*args, **options):
    out = shape_of(tuple((x.shape, x.dtype) for x in args), tuple(sorted(options.items())))
    return args[0].update(shape=out.shape, dtype=out.dtype, weak_type=False)

  def mapped(args, axes, **options):
    return jax.vmap(functools.partial(apply, **options), axes)(*args), 0

  primitive.def_impl(run)
  primitive.def_abstract_eval(abstract)
  mlir.register_lowering(primitive, mlir.lower_fun(apply, multiple_results=False))
  batching.primitive_batchers[primitive] = batch or mapped
  return primitive


def linear(
  name: str,
  apply: Callable,
  transpose: Callable,
  tangent: Callable | None = None,
  batch: Callable | None = None,
) -> Callable:
  """An operation that is linear in its first array.

  Args:
    name: of the primitive.
    apply: (x, *others, **options) → y.
    transpose: (cotangent, x's aval, *others, **options) → the cotangent of x.
    tangent: (x, others, tangents of others, **options) → what the others' tangents contribute, of
      which those without one are `None`; None where the others are whole numbers.
    batch: see `_primitive`.

  Returns:
    The operation, called as `apply`.
  """
  primitive = _primitive(name, apply, batch)

  def jvp(primals, tangents, **options):
    x, *others = primals
    dx, *rest = (None if type(t) is ad.Zero else t for t in tangents)
    y = primitive.bind(*primals, **options)
    parts = [] if dx is None else [primitive.bind(dx, *others, **options)]
    if tangent is not None and any(t is not None for t in rest):
      parts.append(tangent(x, others, rest, **options))
    return y, sum(parts[1:], parts[0]) if parts else jax.numpy.zeros_like(y)

  def transposed(cotangent, x, *others, **options):
    if type(cotangent) is ad.Zero:
      return (ad.Zero(x.aval), *(None for _ in others))
    return (transpose(cotangent, x.aval, *others, **options), *(None for _ in others))

  ad.primitive_jvps[primitive] = jvp
  ad.primitive_transposes[primitive] = transposed
  return primitive.bind


def bilinear(
  name: str,
  apply: Callable,
  first: Callable,
  second: Callable,
  tangents: tuple[Callable, Callable] | None = None,
  batch: Callable | None = None,
) -> Callable:
  """An operation that is linear in each of its two arrays.

  Args:
    name: of the primitive.
    apply: (x, y, **options) → z.
    first: (cotangent, x's aval, y, **options) → the cotangent of x.
    second: (cotangent, x, y's aval, **options) → the cotangent of y.
    tangents: (dx, x, y, **options) and (dy, x, y, **options) → what a tangent of one array
      contributes; None for `apply` itself.
    batch: see `_primitive`.

  Returns:
    The operation, called as `apply`.
  """
  primitive = _primitive(name, apply, batch)

  def of_first(cotangent, x, y, **options):
    return first(cotangent, x.aval, y, **options)

  def of_second(cotangent, x, y, **options):
    return second(cotangent, x, y.aval, **options)

  ad.defbilinear(primitive, of_first, of_second)
  if tangents is not None:
    ad.defjvp(primitive, *tangents)
  return primitive.bind
