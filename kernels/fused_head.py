"""Log-probabilities under a linear head, and their gradients, for TPUs: by tiles of the vocabulary.

N tokens, D width, V vocabulary, C cores. A word is an entry of the vocabulary, a row of the head; a
tile has v words, a block n tokens. The tokens' hidden states and their gradients stay in VMEM while
the head is read once, tile after tile. Logits are computed in the kernel, transposed, [v, n]: sums
over words are then sums of registers, and one number per token is a row. Cores that share a program
have a part of the tiles each.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from cot_rm.kernels import fused_head_kernels

TILES = (512, 256, 128)  # words of a tile, in order of preference
BLOCK = 512  # tokens of a block
MIN_PART = 1024  # tokens that hide the time to read a tile of the head

# (array or its shape, its kind): see `_call`.
Operand = tuple[jax.Array | jax.ShapeDtypeStruct, Literal["tokens", "words", "row"]]
Axis = str | tuple[str, ...] | None
Interpret = bool | pltpu.InterpretParams


def _vmem_and_cores() -> tuple[int, int]:
  """(bytes of VMEM, cores that share a program) of the ambient mesh's chip."""
  info = pltpu.get_tpu_info()
  return info.vmem_capacity_bytes, info.num_cores


def _token_capacity(tile: int, D: int, itemsize: int, *, accumulate: bool) -> int:
  """Tokens, in whole blocks, that fit VMEM together with two tiles of the head and its gradient.

  accumulate: the gradient's tiles are float32, and read as well as written.
  """
  tile_bytes = 2 * itemsize + (4 * 4 if accumulate else 2 * itemsize + 4)  # of one number
  logits = 12 * tile * BLOCK * 4
  vmem, _ = _vmem_and_cores()
  return (vmem - tile_bytes * tile * D - logits) // ((itemsize + 4) * D) // BLOCK * BLOCK


class Plan(NamedTuple):
  """How tokens and words are divided."""

  tile: int  # words of a tile
  parts: int  # parts of the tokens; each reads the whole head
  part_size: int  # tokens of a part, whole blocks


def plan(N: int, D: int, dtype: jnp.dtype) -> Plan:
  """The Plan of N tokens of width D: one part if it fits VMEM.

  With several parts the head's gradient is accumulated in HBM, in float32. Raises ValueError if not
  even one block of tokens fits.
  """
  itemsize = jnp.dtype(dtype).itemsize
  for tile in TILES:
    if _token_capacity(tile, D, itemsize, accumulate=False) >= N:
      return Plan(tile, 1, -(-N // BLOCK) * BLOCK)
  capacities = [(_token_capacity(tile, D, itemsize, accumulate=True), tile) for tile in TILES]
  capacity, tile = next((x for x in capacities if x[0] >= MIN_PART), max(capacities))
  if capacity < 1:
    raise ValueError(f"a head of width {D} does not fit {_vmem_and_cores()[0]:,} bytes of VMEM")
  parts = -(-N // capacity)
  return Plan(tile, parts, -(-N // (parts * BLOCK)) * BLOCK)


class _Settings(NamedTuple):
  """Constants of a program."""

  tile: int  # words of a tile
  temperature: float
  interpret: Interpret  # see `pallas_call`


class _Kernel(NamedTuple):
  """A kernel and the static settings of its pallas_call."""

  body: Callable[..., None]
  name: str
  scratch: Sequence[pl.MemoryRef] = ()
  aliases: Mapping[int, int] = {}  # input -> output that is written in place


def _whole_array(*_: jax.Array) -> tuple[int, int]:
  """Index map of an input that stays in VMEM."""
  return 0, 0


def _own_array(core: jax.Array, *_: jax.Array) -> tuple[jax.Array, int, int]:
  """Index map of an output with one copy per core."""
  return core, 0, 0


def _call(
  kernel: _Kernel,
  count: jax.Array,
  inputs: Sequence[Operand],
  outputs: Sequence[Operand],
  settings: _Settings,
) -> list[jax.Array]:
  """Runs a kernel over cores and tiles; returns its outputs.

  Args:
    kernel: the kernel.
    count: i32[], blocks of tokens.
    inputs: arrays and their kinds: "tokens" [N, D] stays in VMEM, "words" [V, D] is read in tiles,
      "row" [1, N] stays. The first is the hidden states, the second the head.
    outputs: shapes and their kinds; "tokens" and "row" have a leading axis of cores, [C, ...].
    settings: the tile, and how the kernel runs.
  """
  vmem, cores = _vmem_and_cores()
  (N, D), V, tile = inputs[0][0].shape, len(inputs[1][0]), settings.tile
  tiles = pl.cdiv(V, tile)
  core_tiles = pl.cdiv(tiles, cores)

  def tile_index(core: jax.Array, t: jax.Array, _: jax.Array) -> tuple[jax.Array, int]:
    return jnp.minimum(core * core_tiles + t, tiles - 1), 0

  by_tiles, once = pl.BlockSpec((tile, D), tile_index), pl.Buffered(1)
  shapes = {"tokens": (N, D), "row": (1, N)}
  in_specs = {kind: pl.BlockSpec(x, _whole_array, pipeline_mode=once) for kind, x in shapes.items()}
  out_specs = {
    kind: pl.BlockSpec((None, *x), _own_array, pipeline_mode=once) for kind, x in shapes.items()
  }
  in_specs["words"] = out_specs["words"] = by_tiles
  return pl.pallas_call(
    kernel.body,
    out_shape=[shape for shape, _ in outputs],
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=1,
      grid=(cores, core_tiles),
      in_specs=[in_specs[kind] for _, kind in inputs],
      out_specs=[out_specs[kind] for _, kind in outputs],
      scratch_shapes=kernel.scratch,
    ),
    input_output_aliases=dict(kernel.aliases),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=vmem
    ),
    interpret=settings.interpret,
    name=kernel.name,
  )(jnp.stack([count]), *[x for x, _ in inputs])


class _Tokens(NamedTuple):
  """Tokens of one part."""

  x_ND: jax.Array  # hidden states
  token_N: jax.Array  # i32, words
  lse_N: jax.Array | None = None  # f32, log-sum-exp of the logits
  g_N: jax.Array | None = None  # f32, gradient of the log-probabilities


def _forward(tokens: _Tokens, w_VD: jax.Array, count: jax.Array, settings: _Settings) -> jax.Array:
  """f32[3, C, N]: logit of each token's word, maximum logit, and sum of exp(logit - maximum).

  Each core has the words of its own tiles: the three are combined over C. count: i32[], number of
  token blocks that are computed.
  """
  row = jax.ShapeDtypeStruct((_vmem_and_cores()[1], 1, len(tokens.x_ND)), jnp.float32)
  body = functools.partial(
    fused_head_kernels.forward, words=len(w_VD), temperature=settings.temperature, block=BLOCK
  )
  inputs = [(tokens.x_ND, "tokens"), (w_VD, "words"), (tokens.token_N[None], "row")]
  out = _call(_Kernel(body, "head_forward"), count, inputs, [(row, "row")] * 3, settings)
  return jnp.stack(out)[:, :, 0]


def _backward(
  tokens: _Tokens,
  w_VD: jax.Array,
  dw_VD: jax.Array | None,
  count: jax.Array,
  settings: _Settings,
) -> tuple[jax.Array, jax.Array]:
  """Gradients of one part of the tokens: (dx_CND f32 of each core, dw_VD).

  Args:
    tokens: the part, with lse_N and g_N.
    w_VD: the head.
    dw_VD: f32, gradient so far, to which this one is added in place; None: there is none.
    count: i32[], number of token blocks that are computed.
    settings: the constants of the program.
  """
  rows = [(x[None], "row") for x in tokens[1:]]
  inputs = [(tokens.x_ND, "tokens"), (w_VD, "words"), *rows]
  accumulate = dw_VD is not None
  if accumulate:
    inputs.append((dw_VD, "words"))
  dx = jax.ShapeDtypeStruct((_vmem_and_cores()[1], *tokens.x_ND.shape), jnp.float32)
  dw = jax.ShapeDtypeStruct(w_VD.shape, dw_VD.dtype if accumulate else w_VD.dtype)
  body = functools.partial(
    fused_head_kernels.backward,
    words=len(w_VD),
    temperature=settings.temperature,
    block=BLOCK,
    accumulate=accumulate,
  )
  kernel = _Kernel(
    body,
    "head_backward",
    scratch=[] if accumulate else [pltpu.VMEM((settings.tile, w_VD.shape[1]), jnp.float32)],
    aliases={len(inputs): 1} if accumulate else {},  # inputs are counted with the scalar
  )
  dx_CND, dw_VD = _call(kernel, count, inputs, [(dx, "tokens"), (dw, "words")], settings)
  return dx_CND, dw_VD


def _part_blocks(count: jax.Array, part: jax.Array | int, size: int) -> jax.Array:
  """i32[]: number of blocks of part `part` (`size` tokens) with any of the first `count` tokens."""
  return jnp.clip(-(-(count - part * size) // BLOCK), 0, size // BLOCK)


def _part(tokens: _Tokens, part: jax.Array, size: int) -> _Tokens:
  """Part number `part` of the tokens."""
  return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, part * size, size), tokens)


def _padded(tokens: _Tokens, size: int) -> _Tokens:
  """Tokens padded to `size`."""

  def pad(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, size - len(x)), *[(0, 0)] * (x.ndim - 1)))

  return jax.tree.map(pad, tokens)


def _local_words(tokens_N: jax.Array, w_VD: jax.Array, axis: Axis) -> jax.Array:
  """Word ids as row indices of this device's shard; outside 0..V - 1 if in another shard."""
  return tokens_N if axis is None else tokens_N - lax.axis_index(axis) * len(w_VD)


def logps(
  x_ND: jax.Array,
  w_VD: jax.Array,
  tokens_N: jax.Array,
  count: jax.Array,
  *,
  temperature: float = 1.0,
  axis: Axis = None,
  interpret: Interpret = False,
) -> tuple[jax.Array, jax.Array]:
  """Log-probabilities of tokens under the head, as `token_logps.token_logps_ref` defines them.

  Args:
    x_ND: hidden states.
    w_VD: the head, one row per word; with `axis` this device's shard of the rows.
    tokens_N: i32, word ids.
    count: i32[]: the first `count` tokens are computed, the results of the others are 0.
    temperature: the logits are divided by it.
    axis: mesh axes over which the words are sharded; the call is then inside shard_map.
    interpret: see `pallas_call`; runs the kernels on other platforms.

  Returns:
    (log-probabilities, log-sum-exps of the logits), f32[N]. Not differentiable: see `gradients`.
  """
  N, D = x_ND.shape
  tile, parts, size = plan(N, D, x_ND.dtype)
  settings = _Settings(tile, temperature, interpret)
  tokens = _padded(_Tokens(x_ND, _local_words(tokens_N, w_VD, axis)), parts * size)

  def forward(part: jax.Array, found_3CN: jax.Array) -> jax.Array:
    part_tokens, blocks = _part(tokens, part, size), _part_blocks(count, part, size)
    new = _forward(part_tokens, w_VD, blocks, settings)
    return lax.dynamic_update_slice_in_dim(found_3CN, new, part * size, 2)

  found_3CN = jnp.zeros((3, _vmem_and_cores()[1], parts * size), jnp.float32)
  used = -(-count // size) if parts > 1 else 1
  found_3CN = lax.fori_loop(0, used, forward, found_3CN)
  if axis is not None:
    found_3CN = lax.all_gather(found_3CN, axis, axis=1, tiled=True)
  picked_CN, max_CN, total_CN = found_3CN
  highest_N = max_CN.max(0)
  fade_CN = jnp.exp(max_CN - highest_N[None])
  lse_N = highest_N + jnp.log((total_CN * fade_CN).sum(0))
  wanted_N = jnp.arange(N) < count
  logps_N = jnp.where(wanted_N, (picked_CN.sum(0) - lse_N)[:N], 0)
  return logps_N, jnp.where(wanted_N, lse_N[:N], 0)


def gradients(
  x_ND: jax.Array,
  w_VD: jax.Array,
  tokens_N: jax.Array,
  lse_N: jax.Array,
  g_N: jax.Array,
  count: jax.Array,
  *,
  temperature: float = 1.0,
  axis: Axis = None,
  interpret: Interpret = False,
) -> tuple[jax.Array, jax.Array]:
  """Gradients (dx_ND f32, dw_VD) of sum(g_N * log-probabilities); see `logps`.

  With `axis`, dx_ND is the part that comes from this device's words: the caller sums it over the
  axis.

  Args:
    x_ND: see `logps`, as w_VD, tokens_N, count, temperature, axis and interpret.
    lse_N: log-sum-exps of `logps`.
    g_N: f32, gradients of the log-probabilities, 0 for tokens that are not computed.
  """
  N, (V, D) = len(x_ND), w_VD.shape
  tile, parts, size = plan(N, D, x_ND.dtype)
  settings = _Settings(tile, temperature, interpret)
  # Of a token that is not computed in a block that is, exp(logit - lse) must be finite: 0.
  lse_N = jnp.where(jnp.arange(N) < count, lse_N, -fused_head_kernels.LOWEST)
  tokens = _Tokens(x_ND, _local_words(tokens_N, w_VD, axis), lse_N, g_N / temperature)
  tokens = _padded(tokens, parts * size)
  if parts == 1:
    blocks = _part_blocks(count, 0, size)
    dx_CND, dw_VD = _backward(tokens, w_VD, None, blocks, settings)
    return dx_CND.sum(0)[:N], dw_VD

  def backward(part: jax.Array, sums: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    dx_ND, dw_VD = sums
    part_tokens, blocks = _part(tokens, part, size), _part_blocks(count, part, size)
    dx_CND, dw_VD = _backward(part_tokens, w_VD, dw_VD, blocks, settings)
    return lax.dynamic_update_slice_in_dim(dx_ND, dx_CND.sum(0), part * size, 0), dw_VD

  sums = jnp.zeros((parts * size, D), jnp.float32), jnp.zeros((V, D), jnp.float32)
  dx_ND, dw_VD = lax.fori_loop(0, -(-count // size), backward, sums)
  return dx_ND[:N], dw_VD.astype(w_VD.dtype)
