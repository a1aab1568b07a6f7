"""What the devices run: prompts into seats, and chunks of tokens out of slots.

R seats hold a prompt each and have G places for samples of it, B slots hold a sample each, which
sits at a place of its prompt. S prompt positions, P of a part of an answer, C of a chunk, V
vocabulary, W watched tokens.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cot_rm import sharding
from cot_rm.models import attention, kv_cache, layers
from cot_rm.sampler import sampling as draw

# On a CPU products of so many rows, and of multiples of it, round a row alike: others need not.
ALIKE = 32


class Memory(NamedTuple):
  """Keys and values, see kv_cache: a list with an entry a layer, or layers stacked."""

  prompts: list | tuple  # [R, K, H, S] and [R, K, S, H]
  answers: list  # of parts, of whole chunks: [B, K, H, P] and [B, K, P, H]


class Slots(NamedTuple):
  """What every slot is at when a chunk begins; the host keeps it."""

  live_B: np.ndarray  # bool: a sample is being made here
  token_B: np.ndarray  # i32: the token that is read next; at first the prompt's last
  first_B: np.ndarray  # i32: M-RoPE position of the prompt's last token
  age_B: np.ndarray  # i32: tokens that the sample has
  left_B: np.ndarray  # i32: tokens that it may still have
  seed_B: np.ndarray  # u32: of the sample's prompt
  sample_B: np.ndarray  # i32: which sample of its prompt it is
  place_B: np.ndarray | None  # i32: where it sits, see attention.Assignment; None: see Seats


class Seats(NamedTuple):
  """What every seat is at when a chunk begins; the host keeps it."""

  mask_RS: np.ndarray  # bool: the positions of its prompt, but for the last
  slot_RG: np.ndarray | None  # i32: the slot of the sample at each place, B where there is none;
  # None, and place_B too: place g of seat r is slot r * G + g


class Chunk(NamedTuple):
  """What a chunk brought."""

  tokens_BC: jax.Array  # i32
  logps_BC: jax.Array  # f32: of the model, before temperature, top-p, top-k and banned tokens
  drawn_BC: jax.Array  # f32: of the distribution that was drawn from
  watched_BCW: jax.Array  # f32: log-probabilities of the watched tokens
  count_B: jax.Array  # i32: how many of the C are the sample's
  stopped_B: jax.Array  # bool: the last of them ends the answer


def make(graphdef, *, stop_ids, banned_ids, watched_ids, piece=0, stacked=False):
  """(read, fill, write): the three programs; weights are an argument of each.

  read(params, prompts): keys and values of a Batch of prompts; they go through the model `piece`
    positions at a time, so that long ones take no more room (0: all).
  fill(memory, read, seats_r): memory with prompts in their seats; a seat of R or more is nobody's.
  write(params, memory, seats, slots, sampling=, size=): (memory, Chunk) of `size` more tokens.
  The memory that goes in is given up.

  stacked: whether what is held stays as stacks of layers. A TPU reads a layer's slice of a stack
    where it lies, and compiles one layer for all; a product on a CPU wants its operand whole. A GPU
    has not been tried.
  """
  read = jax.jit(functools.partial(_read, graphdef, piece, stacked))
  fill = jax.jit(_fill, donate_argnums=0)
  write = jax.jit(
    functools.partial(_write, graphdef, tuple(stop_ids), tuple(banned_ids), tuple(watched_ids)),
    static_argnames=("sampling", "size"),
    donate_argnums=1,
  )
  return read, fill, write


def _read(graphdef, piece, stacked, params, prompts):
  model = nnx.merge(graphdef, params)
  with jax.named_scope("prefill"):
    features_RMD = None if prompts.pictures is None else model.features(prompts.pictures)
    x_RSD = model.embed(prompts.tokens, prompts.visual, features_RMD)
    S = x_RSD.shape[1]
    piece = min(piece or S, S)
    head = slice(0, piece)
    _, kept = model.prefill(x_RSD[:, head], prompts.positions[:, head], prompts.segments[:, head])
    for at in range(piece, S, piece):
      part, before = slice(at, at + piece), prompts.segments[:, :at] > 0
      _, new = model.extend(x_RSD[:, part], prompts.positions[:, part], kept, before)
      kept = jnp.concatenate([kept[0], new[0]], -1), jnp.concatenate([kept[1], new[1]], -2)
  return kept if stacked else [(kept[0][i], kept[1][i]) for i in range(len(kept[0]))]


@functools.partial(jax.jit, static_argnames=("seats", "slots", "parts"))
def empty(read, *, seats, slots, parts):
  """Memory for what `read` gives: so many seats, so many slots, sizes of answers' parts."""

  def room(kept):
    *lead, _, K, H, S = kept[0].shape
    some = lambda rows, length: kv_cache.empty_kv_cache(
      rows, K, H, length, kept[0].dtype, layers=tuple(lead)
    )
    return some(seats, S), [some(slots, size) for size in parts]

  if isinstance(read, list):
    memory = Memory(*map(list, zip(*map(room, read), strict=True)))
  else:
    memory = Memory(*room(read))
  return jax.tree.map(lambda x: sharding.constrain_if_even(x, *kv_cache.KV_AXES), memory)


def _fill(memory, read, seats_r):
  put = lambda old, new: old.at[..., seats_r, :, :, :].set(new, mode="drop")
  return memory._replace(prompts=jax.tree.map(put, memory.prompts, read))


def _write(
  graphdef, stop_ids, banned_ids, watched_ids, params, memory, seats, slots, *, sampling, size
):
  model = nnx.merge(graphdef, params)
  listed = isinstance(memory.prompts, list)
  blocks = layers.unstacked(model.layers) if listed else model.layers
  B, C = len(slots.token_B), size
  keys = jax.tree.leaves(memory.prompts)[0]
  *lead, _, K, H, _ = keys.shape
  stop = np.array(stop_ids, np.int32)
  seated = seats.slot_RG is not None
  assignment = attention.Assignment(seats.slot_RG, slots.place_B) if seated else None
  context = attention.DecodeContext(
    memory.prompts, seats.mask_RS, memory.answers, slots.age_B, assignment
  )
  keys_B = jax.vmap(lambda seed, g: jax.random.fold_in(jax.random.key(seed), g))(
    slots.seed_B, slots.sample_B
  )
  pick = functools.partial(
    _pick, model.head, sampling=sampling, banned=banned_ids, watched=watched_ids
  )

  def more(carry):
    t, _, _, done_B, _ = carry
    return (t < C) & ~done_B.all()

  def step(carry):
    t, token_B, chunk, done_B, out = carry
    age_B = slots.age_B + t
    x_BD = model.embed(token_B[:, None])[:, 0]
    x_BD, chunk = model.decode(blocks, x_BD, slots.first_B + age_B, context, chunk, t)
    new = pick(x_BD, jax.vmap(jax.random.fold_in)(keys_B, age_B), done_B)
    put = lambda room, new: jax.lax.dynamic_update_index_in_dim(room, new, t, axis=1)
    out = out._replace(
      tokens_BC=put(out.tokens_BC, new.token_B),
      logps_BC=put(out.logps_BC, new.logp_B),
      drawn_BC=put(out.drawn_BC, new.drawn_B),
      watched_BCW=put(out.watched_BCW, new.watched_BW),
      count_B=out.count_B + ~done_B,
      stopped_B=out.stopped_B | (~done_B & jnp.isin(new.token_B, stop)),
    )
    return t + 1, new.token_B, chunk, done_B | out.stopped_B | (t + 1 >= slots.left_B), out

  with jax.named_scope("decode"):
    some = functools.partial(kv_cache.empty_kv_cache, B, K, H, C, keys.dtype)
    room = [some() for _ in blocks] if listed else some(layers=tuple(lead))
    out = Chunk(
      jnp.zeros((B, C), jnp.int32),
      jnp.zeros((B, C)),
      jnp.zeros((B, C)),
      jnp.zeros((B, C, len(watched_ids))),
      jnp.zeros(B, jnp.int32),
      jnp.zeros(B, bool),
    )
    carry = (jnp.int32(0), slots.token_B, room, ~slots.live_B, out)
    _, _, chunk, _, out = jax.lax.while_loop(more, step, carry)

    def grown(parts, new):
      return [
        kv_cache.write_chunk(part, slots.age_B - i * part[0].shape[-1], new)
        for i, part in enumerate(parts)
      ]

    answers = list(map(grown, memory.answers, chunk)) if listed else grown(memory.answers, chunk)
  return memory._replace(answers=answers), sharding.constrain_rows(out)


def _pick(head_VD, x_BD, keys_B, done_B, **how):
  """sampling.pick of every slot; what it says of one that is done does not count.

  On one CPU the head's product is most of a small model's step, by its arithmetic: it is made for
  as many of up to four equal parts of the slots as hold those that are not done.
  """
  B = len(done_B)
  alone = sharding.platform() == "cpu" and jax.sharding.get_abstract_mesh().size <= 1
  parts = math.gcd(4, B // ALIKE) if alone and B % ALIKE == 0 else 1

  def every(x_BD, keys_B):
    logits_VB = jnp.einsum("VD,BD->VB", head_VD, x_BD, preferred_element_type=jnp.float32)
    # Words are where their part of the head is; then a device draws for its own rows alone.
    for words in ("vocab", None):
      logits_VB = sharding.constrain_if_even(logits_VB, words, "batch")
    return draw.pick(logits_VB, keys_B, **how)

  if parts == 1:
    return every(x_BD, keys_B)
  order_B = jnp.argsort(done_B)  # stable: those that are not done come first

  def some(size):
    rows = order_B[:size]
    spread = lambda new: jnp.zeros((B, *new.shape[1:]), new.dtype).at[rows].set(new)
    return jax.tree.map(spread, every(x_BD[rows], keys_B[rows]))

  sizes = [B * k // parts for k in range(1, parts + 1)]
  first = (np.array(sizes[:-1]) < (~done_B).sum()).sum()  # the first that all of them fit in
  return jax.lax.switch(first, [functools.partial(some, size) for size in sizes])
