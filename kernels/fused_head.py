"""A linear head's log-probabilities, and their gradients, for TPUs: by tiles of the vocabulary.

N tokens, D width, V vocabulary, C cores; a tile has v words, a block n tokens. The tokens' hidden
states, and the gradients of these, lie in VMEM while the head goes by once, tile after tile. Logits
are made where they are used, transposed, [v, n]: sums over words are then sums of registers, and
what is one number a token is a row. Cores that share a program have a part of the tiles each.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from cot_rm.kernels import products

TILES = (512, 256, 128)  # words
BLOCK = 512  # tokens
ENOUGH = 1024  # tokens that hide the head's way to VMEM
LOWEST = -1e30  # the logit of a word that is not there


def _machine():
  """(bytes of VMEM, cores that share a program) of the ambient mesh's chip."""
  info = pltpu.get_tpu_info()
  return info.vmem_capacity_bytes, info.num_cores


def _room(tile, D, size, *, added):
  """Tokens, whole blocks, that fit beside a tile of the head and of its gradient, two each."""
  here = 2 * size + (4 * 4 if added else 2 * size + 4)  # or their sum is apart, float32
  logits = 12 * tile * BLOCK * 4
  return (_machine()[0] - here * tile * D - logits) // ((size + 4) * D) // BLOCK * BLOCK


def plan(N, D, dtype):
  """(words of a tile, parts that tokens go in, tokens of a part).

  One part if that fits: of several the head's gradients have to be added up in HBM, in float32.
  Raises ValueError where not even a block of tokens fits.
  """
  size = jnp.dtype(dtype).itemsize
  for tile in TILES:
    if _room(tile, D, size, added=False) >= N:
      return tile, 1, -(-N // BLOCK) * BLOCK
  rooms = [(_room(tile, D, size, added=True), tile) for tile in TILES]
  room, tile = next((x for x in rooms if x[0] >= ENOUGH), max(rooms))
  if room < 1:
    raise ValueError(f"a head of width {D} does not fit {_machine()[0]:,} bytes of VMEM")
  parts = -(-N // room)
  return tile, parts, -(-N // (parts * BLOCK)) * BLOCK


def _blocks(count, block):
  """block(rows) for the first `count` blocks of tokens."""
  rows = lambda i: pl.ds(pl.multiple_of(i * BLOCK, BLOCK), BLOCK)
  lax.fori_loop(0, count, lambda i, _: (block(rows(i)), None)[1], None)


def _place():
  """(which tile of all, whether it is this core's first)."""
  t = pl.program_id(1)
  return pl.program_id(0) * pl.num_programs(1) + t, t == 0


def _forward_kernel(
  count, x_ref, w_ref, token_ref, picked_ref, top_ref, total_ref, mean_ref, *, words
):
  """A tile of words against all tokens. x [N, D], w [v, D], the others [1, N]."""
  j, begins = _place()
  tile = len(w_ref)
  left = words - j * tile  # words from this tile on

  @pl.when(begins)
  def _():
    top_ref[...] = jnp.full_like(top_ref, LOWEST)
    for ref in (total_ref, picked_ref, mean_ref):
      ref[...] = jnp.zeros_like(ref)

  def block(rows):
    s = products.dot(w_ref[...], x_ref[rows, :], products.NT)
    at = lax.broadcasted_iota(jnp.int32, s.shape, 0)
    there = at < left
    s = jnp.where(there, s, LOWEST)
    before = top_ref[:, rows]
    top = jnp.maximum(before, s.max(0, keepdims=True))
    p, fade = jnp.exp(s - top), jnp.exp(before - top)
    total_ref[:, rows] = total_ref[:, rows] * fade + p.sum(0, keepdims=True)
    mean_ref[:, rows] = mean_ref[:, rows] * fade + (p * s).sum(0, keepdims=True)
    hit = (at == token_ref[:, rows] - j * tile) & there
    picked_ref[:, rows] += jnp.where(hit, s, 0.0).sum(0, keepdims=True)
    top_ref[:, rows] = top

  # Where cores do not share equally the last has a tile less.
  pl.when(left > 0)(lambda: _blocks(count[0], block))


def _backward_kernel(count, x_ref, w_ref, token_ref, lse_ref, g_ref, *refs, words, added):
  """The same tile: dx [N, D], the sum over tiles; dw [v, D], on top of what there is of it."""
  # What is added to is float32, and is the sum itself.
  dw_in, dx_ref, dw_ref, sum_ref = (*refs, refs[2]) if added else (None, *refs)
  j, begins = _place()
  tile = len(w_ref)
  left = words - j * tile

  @pl.when(begins)
  def _():
    dx_ref[...] = jnp.zeros_like(dx_ref)

  def block(rows):
    x = x_ref[rows, :]
    s = products.dot(w_ref[...], x, products.NT)
    at = lax.broadcasted_iota(jnp.int32, s.shape, 0)
    hit = at == token_ref[:, rows] - j * tile
    ds = (jnp.where(hit, 1.0, 0.0) - jnp.exp(s - lse_ref[:, rows])) * g_ref[:, rows]
    w = w_ref[...]
    if words % tile:  # what lies behind the last word may be anything, also no number
      ds = jnp.where(at < left, ds, 0.0)
      w = jnp.where(lax.broadcasted_iota(jnp.int32, w.shape, 0) < left, w, 0)
    ds = ds.astype(x.dtype)
    sum_ref[...] += products.dot(ds, x)
    dx_ref[rows, :] += products.dot(ds, w, products.TN)

  @pl.when(left > 0)
  def _():
    sum_ref[...] = dw_in[...] if added else jnp.zeros_like(sum_ref)
    _blocks(count[0], block)
    if not added:
      dw_ref[...] = sum_ref[...].astype(dw_ref.dtype)


def _call(kernel, name, tile, count, inputs, outputs, scratch, aliases, interpret):
  """A pallas_call over cores and tiles.

  inputs, outputs: (array or shape, kind): "x" [N, D] stays in VMEM, "w" [V, D] goes by in tiles,
  "row" [1, N] stays. What stays is one a core where it comes out, [C, ...].
  """
  room, cores = _machine()
  (N, D), V = inputs[0][0].shape, len(inputs[1][0])
  tiles = pl.cdiv(V, tile)
  each = pl.cdiv(tiles, cores)
  passing = pl.BlockSpec((tile, D), lambda c, t, _: (jnp.minimum(c * each + t, tiles - 1), 0))
  once = pl.Buffered(1)
  stay = lambda *block: pl.BlockSpec(block, lambda *_: (0, 0), pipeline_mode=once)
  own = lambda *block: pl.BlockSpec((None, *block), lambda c, *_: (c, 0, 0), pipeline_mode=once)
  specs = {"x": stay(N, D), "w": passing, "row": stay(1, N)}
  made = {"x": own(N, D), "w": passing, "row": own(1, N)}
  return pl.pallas_call(
    kernel,
    out_shape=[shape for shape, _ in outputs],
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=1,
      grid=(cores, each),
      in_specs=[specs[kind] for _, kind in inputs],
      out_specs=[made[kind] for _, kind in outputs],
      scratch_shapes=scratch,
    ),
    input_output_aliases=aliases,
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=room
    ),
    interpret=interpret,
    name=name,
  )(jnp.stack([count]), *[x for x, _ in inputs])


def _forward(x_ND, w_VD, tokens_N, count, tile, interpret):
  """f32[4, C, N]: of each core the word's logit, the highest, sums of softmax and of logits."""
  row = jax.ShapeDtypeStruct((_machine()[1], 1, len(x_ND)), jnp.float32)
  out = _call(
    functools.partial(_forward_kernel, words=len(w_VD)),
    "head_forward",
    tile,
    count,
    [(x_ND, "x"), (w_VD, "w"), (tokens_N[None], "row")],
    [(row, "row")] * 4,
    [],
    {},
    interpret,
  )
  return jnp.stack(out)[:, :, 0]


def _backward(x_ND, w_VD, tokens_N, lse_N, g_N, count, dw_VD, tile, interpret):
  """(dx_CND f32, dw_VD); dw_VD: what is to be added to, given up, or None."""
  inputs = [(x_ND, "x"), (w_VD, "w"), *[(x[None], "row") for x in (tokens_N, lse_N, g_N)]]
  added = dw_VD is not None
  if added:
    inputs.append((dw_VD, "w"))
  dx = jax.ShapeDtypeStruct((_machine()[1], *x_ND.shape), jnp.float32)
  dw = jax.ShapeDtypeStruct(w_VD.shape, dw_VD.dtype if added else w_VD.dtype)
  return _call(
    functools.partial(_backward_kernel, words=len(w_VD), added=added),
    "head_backward",
    tile,
    count,
    inputs,
    [(dx, "x"), (dw, "w")],
    [] if added else [pltpu.VMEM((tile, w_VD.shape[1]), jnp.float32)],
    {len(inputs): 1} if added else {},
    interpret,
  )


def _blocks_of(count, part, size):
  """i32[]: blocks of a part that have any of the first `count` tokens."""
  return jnp.clip(-(-(count - part * size) // BLOCK), 0, size // BLOCK)


def _cut(x, part, size):
  return lax.dynamic_slice_in_dim(x, part * size, size)


def _padded(size, *arrays):
  return [jnp.pad(x, ((0, size - len(x)), *[(0, 0)] * (x.ndim - 1))) for x in arrays]


def _own(tokens_N, w_VD, axis):
  """Tokens as rows of this device's share of the head; no row's where another has it."""
  return tokens_N if axis is None else tokens_N - lax.axis_index(axis) * len(w_VD)


def logps(x_ND, w_VD, tokens_N, count, axis=None, *, interpret=False):
  """Log-probabilities of tokens under the head, and what goes with them.

  Args:
    x_ND: hidden states.
    w_VD: the head, one row a word; with `axis` this device's share of the words.
    tokens_N: i32, which word.
    count: i32[]: of the first so many tokens; of the others all is 0.
    axis: of the mesh, over whose devices the words are shared, inside shard_map.

  Returns:
    (log-probability, log-sum-exp of the logits, entropy in nats), f32[N]. No gradient: `gradients`.
  """
  N, D = x_ND.shape
  tile, parts, size = plan(N, D, x_ND.dtype)
  x_ND, tokens_N = _padded(parts * size, x_ND, _own(tokens_N, w_VD, axis))

  def one(part, found_4CN):
    new = _forward(
      _cut(x_ND, part, size), w_VD, _cut(tokens_N, part, size), _blocks_of(count, part, size),
      tile, interpret,
    )  # fmt: skip
    return lax.dynamic_update_slice_in_dim(found_4CN, new, part * size, 2)

  found_4CN = jnp.zeros((4, _machine()[1], parts * size), jnp.float32)
  used = -(-count // size) if parts > 1 else 1
  found_4CN = lax.fori_loop(0, used, one, found_4CN)
  if axis is not None:
    found_4CN = lax.all_gather(found_4CN, axis, axis=1, tiled=True)
  picked, top, total, mean = found_4CN
  highest_N = top.max(0)
  fade = jnp.exp(top - highest_N[None])
  total_N = (total * fade).sum(0)
  lse_N = highest_N + jnp.log(total_N)
  entropy_N = lse_N - (mean * fade).sum(0) / total_N
  wanted = jnp.arange(N) < count
  return tuple(jnp.where(wanted, x[:N], 0) for x in (picked.sum(0) - lse_N, lse_N, entropy_N))


def gradients(x_ND, w_VD, tokens_N, lse_N, g_N, count, axis=None, *, interpret=False):
  """(dx_ND f32, dw_VD) of the sum of g_N * log-probabilities; arguments as in `logps`.

  With `axis` dx is of this device's words: to be summed over it.
  """
  N, (V, D) = len(x_ND), w_VD.shape
  tile, parts, size = plan(N, D, x_ND.dtype)
  given = _padded(parts * size, x_ND, _own(tokens_N, w_VD, axis), lse_N, g_N)
  if parts == 1:
    dx_CND, dw_VD = _backward(
      given[0], w_VD, *given[1:], _blocks_of(count, 0, size), None, tile, interpret
    )
    return dx_CND.sum(0)[:N], dw_VD

  def one(part, sums):
    dx_ND, dw_VD = sums
    x, *rows = [_cut(x, part, size) for x in given]
    dx, dw_VD = _backward(x, w_VD, *rows, _blocks_of(count, part, size), dw_VD, tile, interpret)
    return lax.dynamic_update_slice_in_dim(dx_ND, dx.sum(0), part * size, 0), dw_VD

  sums = jnp.zeros((parts * size, D), jnp.float32), jnp.zeros((V, D), jnp.float32)
  dx_ND, dw_VD = lax.fori_loop(0, -(-count // size), one, sums)
  return dx_ND[:N], dw_VD.astype(w_VD.dtype)
