"""Schedules: a program small enough to count by hand, and kernels whose work is known."""

import pytest

from bench.tpu import schedule
from bench.tpu.chips import CHIPS
from bench.tpu.schedule import Work

# A grid of 6 turns for 4 steps; in it a branch; in that a loop that may have no turn.
BUNDLES = """\
     0   :  { %s0 = smov 0 }
   0x1 LB: > { %s1 = sadd.s32 1, %s0 } /* Start region 1 */
   0x2   : > { %9 = sbr.rel (%p0) target = $region3 }
   0x3   : > {}
   0x4   : > {}
   0x5   : > {}
   0x6   : > {}
   0x7   : > { %5 = sbr.rel (%p3) target = $region5 }
   0x8   : > {}
   0x9   : > {}
   0xa   : > {}
   0xb   : > {}
   0xc LB: >> { %v1 = vadd.f32 %v0, %v0 } /* Start region 4 */
   0xd   : >> { %8 = sbr.rel (!%p1) target = $region4 }
   0xe   : >> {}
   0xf   : >> {}
  0x10   : >> {}
  0x11   : >> { %v2 = vadd.f32 %v1, %v1 }
  0x12 PF: > {} /* Start/End empty region 5 */
  0x13   : > { %p2 = scmp.ge.s32.totalorder %s1, 6 /* loop exit test */ } /* Start region 3 */
  0x14   : > { %7 = sbr.rel (!%p2) target = $region1 }
  0x15   : > {}
  0x16   : > {}
  0x17   : > {}
  0x18   : > {}
  0x19   :  { %6 = vsyncpa [#allocation4], 1 }
"""
HEAD = "== CAPACITY:\nMXU, VALU, SALU\n4 4 2\n== UTILIZATION:\n"
VECTOR, SCALAR = (0xC, 0x11), (0, 1, 2, 7, 0xD, 0x13, 0x14, 0x19)
USE = HEAD + "\n".join(f"0 {int(i in VECTOR)} {int(i in SCALAR)}" for i in range(26))


def test_each_bundle_counts_by_its_runs():
  whole = schedule.sections(BUNDLES)
  (grid,) = whole.inner
  (branch,) = grid.inner
  (loop,) = branch.inner
  assert (grid.first, grid.last, grid.loop, grid.turns) == (1, 0x19, True, 6)
  assert (branch.first, branch.last, branch.loop, branch.turns) == (7, 0x13, False, None)
  assert (loop.first, loop.last, loop.loop, loop.turns) == (12, 18, True, None)
  counts = schedule.passes(whole, Work(flops=0, bytes=0, steps=4, runs=(20,)))
  assert counts == [1] + [6] * 6 + [4] * 5 + [20] * 6 + [4] + [6] * 6 + [1]


def test_figures_are_sums_over_all_runs():
  work = Work(flops=131_072 * 30, bytes=CHIPS["v5e"].bandwidth, steps=4, runs=(20,))
  found = schedule.figures(BUNDLES, USE, work, CHIPS["v5e"])
  assert found["cycles"] == 2 + 12 * 6 + 6 * 4 + 6 * 20
  assert found["empty"] == 4 * 6 + 4 * 4 + 3 * 20 + 4 + 4 * 6
  assert found["busy"]["VALU"] == round(2 * 20 / 4 / found["cycles"], 3)
  # The loop takes the most cycles: 6 bundles, 3 empty, two of the 24 vector slots used.
  assert found["inner"]["share"] == round(6 * 20 / found["cycles"], 3)
  assert (found["inner"]["bundles"], found["inner"]["empty"]) == (6, 3)
  assert (found["inner"]["VALU"], found["inner"]["MXU"]) == (round(2 / 24, 3), 0)
  assert found["hbm"] == CHIPS["v5e"].bandwidth
  assert found["flops_bound"] == 30
  assert found["bytes_bound"] == round(CHIPS["v5e"].clock)  # a second's bytes


def test_a_section_takes_at_least_the_time_of_its_matrix_unit():
  """A product in the loop of 6 bundles: 16 rows of 128 x 128 take a v5e's unit 16 cycles."""
  bundles = BUNDLES.replace("%v1 = vadd.f32 %v0, %v0", "%9 = vmatmul.bf16.gmra.mxu2 %v0")
  work = Work(flops=0, bytes=0, steps=4, runs=(20,))
  found = schedule.figures(bundles, USE, work, CHIPS["v5e"])
  assert found["cycles"] == 2 + 12 * 6 + 6 * 4 + 16 * 20
  assert found["products"] == 16 * 20


def test_cores_that_share_a_grid_divide_its_branches():
  whole = schedule.sections(BUNDLES)
  counts = schedule.passes(whole, Work(flops=0, bytes=0, steps=8, runs=(40,)))
  assert counts[2] == 6 and counts[7] == 4 and counts[12] == 20  # four steps, two fill the pipeline


def test_a_wrong_number_of_runs_names_the_addresses_of_the_sections():
  with pytest.raises(ValueError, match=r"of 0 sections; there are 0xc to 0x11"):
    schedule.passes(schedule.sections(BUNDLES), Work(flops=0, bytes=0, steps=4, runs=()))


KNOWN = """
import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from tpu.schedule import Work

def add(steps, rows):
  def kernel(x_ref, y_ref):
    y_ref[...] = x_ref[...] + 1.0
  spec = pl.BlockSpec((rows, 128), lambda i: (i, 0))
  x = jax.ShapeDtypeStruct((steps * rows, 128), jnp.float32)
  f = pl.pallas_call(kernel, x, grid=steps, in_specs=[spec], out_specs=spec, name="one_more")
  return f, (x,), {"one_more": Work(flops=0, bytes=8 * x.size, steps=steps)}

def product(steps, n):
  def kernel(x_ref, y_ref, z_ref):
    z_ref[...] = jnp.dot(x_ref[...], y_ref[...], preferred_element_type=jnp.float32)
  specs = [pl.BlockSpec((n, n), lambda i: (i, 0)), pl.BlockSpec((n, n), lambda i: (0, 0))]
  x, y = (jax.ShapeDtypeStruct((k * n, n), jnp.bfloat16) for k in (steps, 1))
  out = jax.ShapeDtypeStruct(x.shape, jnp.float32)
  f = pl.pallas_call(
    kernel, out, grid=steps, in_specs=specs, out_specs=specs[0], name="squares"
  )
  return f, (x, y), {"squares": Work(flops=2 * steps * n**3, bytes=6 * x.size, steps=steps)}
"""


@pytest.fixture
def known(tmp_path):
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed")
  path = tmp_path / "known.py"
  path.write_text(KNOWN)
  return path


@pytest.mark.parametrize("chip", list(CHIPS))
def test_a_sum_stores_each_register_once(known, chip):
  """Each of 16 steps adds 512 x 128 numbers, 64 registers of 8 x 128."""
  found = schedule.measure(f"{known}:add", chip, steps=16, rows=512)["one_more"]
  stores = {"v5e": 1, "v5p": 1, "v6e": 2, "tpu7x": 2}[chip]  # slots in a bundle
  assert found["busy"]["VSTORE"] * found["cycles"] * stores == pytest.approx(16 * 64, rel=0.01)
  assert found["products"] == found["spills"] == 0
  assert 64 / stores < found["cycles_per_step"] < 64 / stores + 100
  assert found["fraction"] == 1  # the copies take longer


def test_a_product_takes_the_cycles_of_its_flops(known):
  """512 cubed at 131,072 flops a cycle are 2,048 cycles."""
  found = schedule.measure(f"{known}:product", "v5e", steps=8, n=512)["squares"]
  assert found["flops_bound"] == 8 * 2048
  assert 1 < found["cycles"] / found["flops_bound"] < 1.3
  assert found["products"] == found["flops_bound"]
  # Double-buffered blocks of x and z, y once, and a little overhead.
  assert found["vmem"] == pytest.approx(2 * (2 + 4) * 512**2 + 2 * 512**2, rel=0.1)


def test_a_kernel_that_does_not_compile_shows_the_compilers_error(known):
  with pytest.raises(RuntimeError, match="(?s)known.py:product for v5e was .*argument: 'n'"):
    schedule.measure(f"{known}:product", "v5e", steps=8)
