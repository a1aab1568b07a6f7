"""Traffic of compiled programs: a module small enough to count by hand, and a real program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

# 4 layers of f32[8, 128] (4 KiB each), one per turn; a sum in VMEM; a row written in place.
LOOP = """\
HloModule jit_f, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%a, %b)
}

%bitcast_fusion (in: f32[8,128]) -> f32[8,128] {
  %in = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %same = f32[8,128]{1,0:T(8,128)} bitcast(%in)
}

%take (w: f32[4,8,128], i: s32[], x: f32[8,128]) -> f32[8,128] {
  %w = STACK parameter(0)
  %i = SCALAR parameter(1)
  %zero = SCALAR constant(0)
  %part = SLICE dynamic-slice(%w, %i, %zero, %zero)
  %flat = f32[8,128]{1,0:T(8,128)} bitcast(%part)
  %x = VMEM parameter(2)
  ROOT %new = VMEM add(%flat, %x)
}

%keep (out: f32[4,8,128], new: f32[8,128], at: s32[]) -> f32[4,8,128] {
  %out = STACK parameter(0)
  %new = VMEM parameter(1)
  %at = SCALAR parameter(2)
  %zero = SCALAR constant(0)
  %one = SLICE bitcast(%new)
  ROOT %in_place = STACK dynamic-update-slice(%out, %one, %at, %zero, %zero)
}

%body (arg: (s32[], f32[4,8,128])) -> (s32[], f32[4,8,128]) {
  %arg = (INDEX, STACK, VMEM, STACK) parameter(0)
  %i = INDEX get-tuple-element(%arg), index=0
  %w = STACK get-tuple-element(%arg), index=1
  %x = VMEM get-tuple-element(%arg), index=2
  %out = STACK get-tuple-element(%arg), index=3
  %next = INDEX add(%i, %i)
  %taken = VMEM fusion(%w, %i, %x), calls=%take, backend_config={"estimated_cycles":"700"}
  %kept = STACK fusion(%out, %taken, %i), calls=%keep, backend_config={"estimated_cycles":"50"}
  ROOT %all = (INDEX, STACK, VMEM, STACK) tuple(%next, %w, %taken, %kept)
}

%cond (arg: (s32[], f32[4,8,128])) -> pred[] {
  %arg = (INDEX, STACK, VMEM, STACK) parameter(0)
  %i = INDEX get-tuple-element(%arg), index=0
  %end = SCALAR constant(4)
  ROOT %more = pred[]{:T(512)} compare(%i, %end), direction=LT
}

ENTRY %main (w: f32[4,8,128], out: f32[4,8,128]) -> f32[8,128] {
  %w = STACK parameter(0)
  %out = STACK parameter(1)
  %nought = INDEX constant(0)
  %x = VMEM fusion(%w), calls=%whole
  %start = (INDEX, STACK, VMEM, STACK) tuple(%nought, %w, %x, %out)
  %turned = (INDEX, STACK, VMEM, STACK) while(%start), condition=%cond, body=%body
  %y = VMEM get-tuple-element(%turned), index=2
  ROOT %copy = f32[8,128]{1,0:T(8,128)} copy(%y)
}

%whole (w: f32[4,8,128]) -> f32[8,128] {
  %w = STACK parameter(0)
  %nought = f32[]{:T(128)} constant(0)
  ROOT %sum = VMEM reduce(%w, %nought), dimensions={0}, to_apply=%add
}
"""
for short, long in (
  ("STACK", "f32[4,8,128]{2,1,0:T(8,128)}"),
  ("SLICE", "f32[1,8,128]{2,1,0:T(8,128)}"),
  ("VMEM", "f32[8,128]{1,0:T(8,128)S(1)}"),
  ("INDEX", "s32[]{:T(128)S(6)}"),
  ("SCALAR", "s32[]{:T(128)}"),
):
  LOOP = LOOP.replace(short, long)
PAGE = 8 * 128 * 4


def loops(program):
  """The loops of the entry computation."""
  return [i for i in program.computations["ENTRY"].values() if i.op == "while"]


def test_a_loop_counts_by_its_trips_and_only_arrays_in_hbm_count(bench):
  program = bench.Program(LOOP)
  (loop,) = loops(program)
  assert program.trips(loop) == 4
  assert program.moved("body") == bench.Moved(read=PAGE, written=PAGE, cycles=750)
  # All four layers before the loop, one in each turn, the result after it.
  assert program.moved() == bench.Moved(read=8 * PAGE, written=5 * PAGE, cycles=3000)


def test_a_conditional_counts_as_its_largest_branch(bench):
  text = LOOP.replace(
    "%x = f32[8,128]{1,0:T(8,128)S(1)} fusion(%w), calls=%whole",
    "%x = f32[8,128]{1,0:T(8,128)S(1)} conditional(%nought, %w, %w), "
    "branch_computations={%left, %right}",
  )
  branch = (
    "\n%{name} (w: f32[4,8,128]) -> f32[8,128] {{\n"
    "  %w = f32[4,8,128]{{2,1,0:T(8,128)}} parameter(0)\n"
    "  ROOT %part = f32[{rows},8,128]{{2,1,0:T(8,128)S(1)}} slice(%w), slice={{[0:{rows}]}}\n}}\n"
  )
  text += branch.format(name="left", rows=1) + branch.format(name="right", rows=2)
  assert bench.Program(text).moved().read == 6 * PAGE


@pytest.mark.parametrize(
  ("kind", "sizes"),
  [
    ("bf16[3,5]{1,0:T(8,128)(2,1)}", [(8 * 128 * 2, True)]),
    ("bf16[3,200]{0,1:T(8,128)(2,1)S(1)}", [(200 * 128 * 2, False)]),
    ("f32[7]{0:T(256)}", [(256 * 4, True)]),
    ("f32[]", [(4, True)]),
    ("(s32[2]{0}, /*index=1*/pred[4,4]{1,0})", [(8, True), (16, True)]),
  ],
)
def test_arrays_are_whole_tiles(bench, kind, sizes):
  assert [(a.bytes, a.hbm) for a in bench.arrays(kind)] == sizes


def test_a_loop_without_a_trip_count_is_refused(bench):
  program = bench.Program(LOOP.replace("constant(4)", "parameter(1)"))
  with pytest.raises(ValueError, match="loop turned"):
    program.moved()


def test_a_real_program_is_read(bench):
  """A chain of products, weights read layer by layer out of a stack."""
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed")
  from bench.tpu import chips

  L, D = 6, 1024
  shapes = jax.ShapeDtypeStruct((L, D, D), jnp.bfloat16), jax.ShapeDtypeStruct((8, D), jnp.bfloat16)
  f = lambda w, x: jax.lax.fori_loop(0, L, lambda i, x: x @ w[i], x)
  program = jax.jit(f).lower(*chips.on(chips.one("v5e"), shapes)).compile()
  moved = bench.Program(program.as_text()).moved()
  weights = 2 * L * D * D
  assert weights <= moved.bytes < 1.02 * weights
  assert bench.Program(program.as_text()).flops() == 2 * 8 * D * D * L


@pytest.mark.parametrize(
  ("labels", "window", "left", "out", "terms"),
  [
    ("bf_io->bf", "", (6, 5), (6, 7), 5),  # [6, 5] times [5, 7]
    ("0bf_0io->0bf", "window={size=4 stride=3 pad=0_0 lhs_dilate=4}, ", (4, 6, 5), (4, 6, 7), 5),
    ("0bf_io0->0bf", "window={size=1}, ", (4, 6, 5), (4, 6, 7), 5),  # four of them, one matrix
    ("0fb_0io->0bf", "window={size=4}, ", (4, 5, 6), (1, 6, 7), 20),  # summed over the four
    ("0bf_0io->0bf", "window={size=2 pad=1_1 rhs_reversal=1}, ", (1, 6, 5), (2, 6, 7), 5),
  ],
)
def test_flops_of_a_convolution_are_those_of_its_terms(bench, labels, window, left, out, terms):
  kind = lambda dims: f"bf16[{','.join(map(str, dims))}]{{}}"
  text = f"ENTRY %main (a: {kind(left)}) -> {kind(out)} {{\n  %a = {kind(left)} parameter(0)\n"
  text += f"  ROOT %c = {kind(out)} convolution(%a, %a), {window}dim_labels={labels}\n}}\n"
  assert bench.Program(text).flops() == 2 * terms * np.prod(out)


def test_a_collective_counts_once_per_turn_of_its_loop(bench):
  """A sum in each of 4 turns that appears in two fusions, and one all-gather."""
  text = LOOP.replace(
    "  %next = s32[]{:T(128)S(6)} add(%i, %i)\n",
    "  %next = s32[]{:T(128)S(6)} add(%i, %i)\n"
    "  %sum = f32[8,128]{1,0:T(8,128)} all-reduce(%x), channel_id=1, to_apply=%add\n"
    "  %more = f32[8,128]{1,0:T(8,128)} fusion(%x), calls=%on\n",
  ).replace(
    "  %nought = s32[]{:T(128)S(6)} constant(0)\n",
    "  %nought = s32[]{:T(128)S(6)} constant(0)\n"
    "  %all = (f32[1,128]{1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)}) all-gather-start(%w)\n",
  )
  text += (
    "\n%on (x: f32[8,128]) -> f32[8,128] {\n  %x = f32[8,128]{1,0:T(8,128)} parameter(0)\n"
    "  ROOT %sum = f32[8,128]{1,0:T(8,128)} all-reduce(%x), channel_id=1, to_apply=%add\n}\n"
  )
  assert bench.Program(text).sent() == {"all-reduce": 4 * PAGE, "all-gather": PAGE}


def test_the_trip_count_depends_on_the_step_of_the_counter(bench):
  text = LOOP.replace("add(%i, %i)", "add(%i, %two)").replace(
    "  %w = f32[4,8,128]{2,1,0:T(8,128)} get-tuple-element(%arg), index=1\n",
    "  %w = f32[4,8,128]{2,1,0:T(8,128)} get-tuple-element(%arg), index=1\n"
    "  %two = s32[]{:T(128)S(6)} constant(2)\n",
  )
  program = bench.Program(text)
  assert program.trips(loops(program)[0]) == 2


def test_a_kernel_counts_by_its_cost_estimate(bench):
  text = LOOP.replace(
    "fusion(%w), calls=%whole",
    'custom-call(%w), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":'
    '{"cost_estimate":{"flops":"1","bytes_accessed":"99"}}}',
  )
  assert bench.Program(text).moved().read == 4 * PAGE + 99
