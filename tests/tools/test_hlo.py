"""What a compiled program does: products by their loops, collectives by their bytes."""

import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.nn import backend, conv, precision
from jax3dgan.tools import flops, hlo

ROOT = pathlib.Path(__file__).parent.parent.parent

# A loop of seven rounds around a product and two exchanges; a branch; a call with a convolution.
TEXT = """HloModule jit_f, is_scheduled=true, num_partitions=8

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%inner (p.1: f32[4,5], p.2: f32[5,6]) -> f32[4,6] {
  %p.1 = f32[4,5]{1,0} parameter(0)
  %p.2 = f32[5,6]{1,0} parameter(1)
  ROOT %dot.1 = f32[4,6]{1,0} dot(%p.1, %p.2), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (s: (s32[], f32[4,5], f32[5,6])) -> (s32[], f32[4,5], f32[5,6]) {
  %s = (s32[], f32[4,5]{1,0}, /*index=2*/f32[5,6]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %x = f32[4,5]{1,0} get-tuple-element(%s), index=1
  %y = f32[5,6]{1,0} get-tuple-element(%s), index=2
  %z = f32[4,6]{1,0} fusion(%x, %y), kind=kOutput, calls=%inner
  %half = bf16[4,6]{1,0} convert(%z)
  %r = (f32[4,6]{1,0}, bf16[4,6]{1,0}) all-reduce(%z, %half), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add, metadata={op_name="jit(f)/psum"}
  %g = f32[16,6]{1,0} all-gather(%z), replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %t = (s32[], f32[4,5]{1,0}, f32[5,6]{1,0}) tuple(%i, %x, %y)
}

%cond (s.1: (s32[], f32[4,5], f32[5,6])) -> pred[] {
  %s.1 = (s32[], f32[4,5]{1,0}, f32[5,6]{1,0}) parameter(0)
  ROOT %true = pred[] constant(true)
}

%little (q: f32[4,5]) -> f32[4,4] {
  %q = f32[4,5]{1,0} parameter(0)
  ROOT %dot.2 = f32[4,4]{1,0} dot(%q, %q), lhs_contracting_dims={1}, rhs_contracting_dims={1}
}

%none (q.1: f32[4,5]) -> f32[4,4] {
  %q.1 = f32[4,5]{1,0} parameter(0)
  ROOT %zeros = f32[4,4]{1,0} constant({...})
}

%conv (im: f32[2,8,8,3], k: f32[3,3,3,5]) -> f32[2,4,4,5] {
  %im = f32[2,8,8,3]{3,2,1,0} parameter(0)
  %k = f32[3,3,3,5]{3,2,1,0} parameter(1)
  ROOT %c = f32[2,4,4,5]{3,2,1,0} convolution(%im, %k), window={size=3x3 stride=2x2 pad=1_0x1_0}, dim_labels=b01f_01io->b01f
}

ENTRY %main (x.0: f32[4,5], y.0: f32[5,6], w: f32[2,8,8,3], v: f32[3,3,3,5]) -> f32[4,4] {
  %x.0 = f32[4,5]{1,0} parameter(0)
  %y.0 = f32[5,6]{1,0} parameter(1)
  %w = f32[2,8,8,3]{3,2,1,0} parameter(2)
  %v = f32[3,3,3,5]{3,2,1,0} parameter(3)
  %zero = s32[] constant(0)
  %start = (s32[], f32[4,5]{1,0}, f32[5,6]{1,0}) tuple(%zero, %x.0, %y.0)
  %loop = (s32[], f32[4,5]{1,0}, f32[5,6]{1,0}) while(%start), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"7"}}
  %out = f32[2,4,4,5]{3,2,1,0} call(%w, %v), to_apply=%conv
  %alone = f32[4,5]{1,0} all-reduce(%x.0), replica_groups={{0},{1},{2},{3},{4},{5},{6},{7}}, to_apply=%add
  %gemm = f32[4,4]{1,0} custom-call(%x.0, %y.0), custom_call_target="__cublas$gemm"
  %which = s32[] constant(1)
  ROOT %res = f32[4,4]{1,0} conditional(%which, %x.0, %x.0), branch_computations={%little, %none}
}
"""  # noqa: E501  the lines of a program


def test_loops_branches_calls_and_groups():
  program = hlo.read(TEXT)
  # Rows of outputs 0..3 begin at −1, 1, 3, 5: the first has two taps on the image.
  taps = 3 * 4 - 1
  expected = 7 * 2 * 4 * 6 * 5 + 2 * 4 * 4 * 5 + 2 * taps**2 * 2 * 3 * 5
  assert program.flops == expected
  assert program.calls == {'__cublas$gemm': 1} and program.unknown_loops == 0
  reduce, gather = program.collectives  # that of one device alone is none
  assert (reduce.kind, reduce.bytes, reduce.group, reduce.count) == ('all-reduce', 144, 4, 7)
  assert reduce.dtypes == {'f32': 1, 'bf16': 1} and reduce.name == 'jit(f)/psum'
  assert (gather.kind, gather.bytes, gather.group) == ('all-gather', 4 * 4 * 6 * 4, 4)
  assert program.bytes('all-reduce') == 7 * 144
  assert reduce.sent == 7 * 2 * 0.75 * 144 and gather.sent == 7 * 0.75 * 384


def test_a_loop_of_unknown_length_is_said():
  program = hlo.read(TEXT.replace(', backend_config={"known_trip_count":{"n":"7"}}', ''))
  assert program.unknown_loops == 1
  assert hlo.read(TEXT).flops - program.flops == 6 * 2 * 4 * 6 * 5


def test_what_is_no_program_is_an_error():
  with pytest.raises(ValueError, match='no ENTRY'):
    hlo.read('module @jit_f {\n}\n')


def step(x, w, kernel):
  """Products in a loop, rematerialised, and convolutions with their gradients."""

  def loss(w, kernel):
    def layer(x, w):
      return jnp.sin(x @ w), None

    x_, _ = jax.lax.scan(jax.checkpoint(layer), x, w)
    image = x_.reshape(2, 8, 8, 3)
    y = jax.lax.conv_general_dilated(
      image, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    return jnp.sum(y**2)

  return jax.grad(loss, (0, 1))(w, kernel)


SHAPES = [(24, 16), (5, 16, 16), (3, 3, 3, 4)]


def test_a_compiled_loop_against_the_trace_and_a_formula():
  traced = jax.jit(step).trace(*(jax.ShapeDtypeStruct(s, np.float32) for s in SHAPES))
  layers = 4 * 5 * 2 * 24 * 16 * 16  # forward, again, and two backward
  convolution = 2 * (3 * 4 - 1) ** 2 * 2 * 3 * 4  # the image's gradient and the kernel's as well
  assert flops.products(traced.jaxpr) == layers + 3 * convolution
  compiled = traced.lower().compile()
  program = hlo.read(compiled.as_text())
  assert program.flops == layers + 3 * convolution and not program.unknown_loops
  # What it is for: XLA's own count takes the loops' bodies once.
  assert compiled.cost_analysis()['flops'] < program.flops / 2


def test_products_of_a_trace():
  x, w = np.zeros((3, 4), np.float32), np.zeros((4, 5), np.float32)
  traced = jax.jit(lambda x, w: jax.lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: x @ w @ w.T @ w))
  assert flops.products(traced.trace(x, w).jaxpr) == 3 * 2 * 3 * 4 * 5  # the dearer branch
  assert flops.products(traced.trace(x, w).jaxpr, min) == 2 * 3 * 4 * 5
  unused = jax.jit(lambda x, w: (x @ w, x)[1])
  assert flops.products(unused.trace(x, w).jaxpr) == 0
  open_ended = jax.jit(lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 1, lambda x: x @ x, x))
  traced = open_ended.trace(np.zeros((3, 3), np.float32))
  with pytest.raises(ValueError, match='number of iterations is not known'):
    flops.products(traced.jaxpr)
  assert [flops.products(traced.jaxpr, open_ended=n) for n in (0, 2)] == [0, 2 * 2 * 27]


@pytest.mark.parametrize('policy', ['float32', 'bfloat16'])
@pytest.mark.parametrize('platform', ['cpu', 'gpu'])
def test_products_of_primitives_of_our_own(platform, policy):
  """Of a convolution and of a product of matrices, each with two in the gradient."""

  def run(x, kernel, weights):
    y = conv.conv2d(x, kernel, padding=1, matmul_dtype=policy)
    return jnp.sin(precision.rows_product(y, weights, policy)).sum()

  shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((1, 8, 8, 4), (3, 3, 4, 5), (5, 6))]
  with backend.lowering_for(platform):
    trace = jax.jit(jax.grad(run, (0, 1, 2))).trace(*shapes)
    needed = 2 * (3 * 8 - 2) ** 2 * 4 * 5 + 2 * 8**2 * 5 * 6
    assert flops.products(trace.jaxpr) == 3 * needed


@pytest.mark.parametrize('stride, low, inner, spread', [(1, 1, 1, 1), (2, 0, 1, 2), (1, 2, 3, 1)])
def test_taps_that_meet_an_element(stride, low, inner, spread):
  """Against a convolution of ones, which counts them."""
  size, taps, high = 6, 3, 1
  out = jax.lax.conv_general_dilated(
    np.ones((1, 1, size), np.float32),
    np.ones((1, 1, taps), np.float32),
    (stride,),
    ((low, high),),
    lhs_dilation=(inner,),
    rhs_dilation=(spread,),
  )
  assert flops.valid_taps(size, taps, out.size, stride, low, inner, spread) == out.sum()


_EIGHT = """
import jax
jax.config.update('jax_num_cpu_devices', 8)
from jax3dgan.devices import parallel

def whole(state, x):
  x = jax.lax.all_gather(x, parallel.AXIS, tiled=True)
  return state, jax.lax.pmean((x @ x.T).sum(), parallel.AXIS)

run = jax.jit(parallel.data_parallel(whole, parallel.make_mesh()))
print(run.lower(0.0, jax.numpy.ones((16, 4))).compile().as_text())
"""


def test_a_batch_that_every_device_has_whole():
  """In a process of its own: the number of devices is fixed before JAX starts. What a step does
  instead: test_steps.py."""
  done = subprocess.run(
    [sys.executable, '-c', _EIGHT], capture_output=True, text=True, timeout=900, cwd=ROOT
  )
  assert done.returncode == 0, done.stderr[-3000:]
  program = hlo.read(done.stdout)
  assert program.bytes('all-gather') == 16 * 4 * 4 and program.flops == 2 * 16 * 16 * 4
