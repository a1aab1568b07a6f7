"""Jitted programs: prefill prompts, insert them into prompt slots, decode a chunk of tokens.

R prompt slots with G group indices each, B decode slots with one sample each; a sample is assigned
to a group index of its prompt's slot. S prompt positions, P positions of a part of the answer
cache, C tokens of a chunk, V vocabulary, W label tokens, K kv heads, H head size, L layers.

KV cache. Keys and values of a prompt are held once for all its samples. Those of generated tokens
are held per sample, in parts of whole chunks, so that attention can leave out the parts that no
sample has reached yet (see limits.Limits.cache_parts and attention.decode_attention). While a chunk
is decoded all slots write at the same index of a chunk buffer, whatever their number of tokens. The
finished chunk is then appended to the sample's other chunks, a row at a time, by each device for
its own rows: a mask or a scatter would be a pass over the whole cache. Keys are [K, H, S], as the
product with a query reads them, and logits [V, B].

Layers. On a TPU keys, values and weights stay stacks of layers: its compiler reads a layer's slice
of a stack in place, and one layer's program serves all (a list of four layers copied 0.58 GB of
weights). On a CPU they are lists of layers: a product would copy the slice of a stack first. A GPU
uses lists too; stacks have not been tried there.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cot_rm import sharding
from cot_rm.batch import Batch
from cot_rm.models import attention, kv_cache, layers
from cot_rm.models.kv_cache import KeysValues
from cot_rm.sampler import sampling as sampling_lib
from cot_rm.sampler.sampling import Sampling, TokenIds

# On a CPU a product rounds a row alike whatever the number of rows, if that is a multiple of this.
# For other numbers it may not, and a sample would depend on the other slots.
ROW_MULTIPLE = 32
# Words of the vocabulary that are multiplied at once where a product of 16 bits casts to float32.
CAST_WORDS = 8192


class KVCache(NamedTuple):
  """Keys and values of the slots: lists with an entry per layer, or stacks of layers [L, ...]."""

  prompts: list[KeysValues] | KeysValues  # [R, K, H, S] and [R, K, S, H]
  answers: list[KeysValues] | list[list[KeysValues]]  # parts: [B, K, H, P] and [B, K, P, H]


class DecodeSlots(NamedTuple):
  """State of every decode slot at the start of a chunk; the host keeps it."""

  active_B: np.ndarray  # bool: the slot has a sample
  token_B: np.ndarray  # i32: the next input token; at first the prompt's last
  position_B: np.ndarray  # i32: M-RoPE position of the prompt's last token
  generated_B: np.ndarray  # i32: tokens that the sample has
  remaining_B: np.ndarray  # i32: tokens that it may still get
  seed_B: np.ndarray  # u32: of the sample's prompt
  sample_B: np.ndarray  # i32: number of the sample among those of its prompt
  flat_index_B: np.ndarray | None  # i32: see attention.Assignment; None: see PromptSlots.slot_RG
  # u8[B, V / 8], a bit for each token in prompt and answer; None without a repetition penalty.
  seen_BV: np.ndarray | None = None


class PromptSlots(NamedTuple):
  """State of every prompt slot at the start of a chunk; the host keeps it."""

  mask_RS: np.ndarray  # bool: the positions of the prompt, except its last
  # i32: decode slot of the sample at each group index; B: none. None, as is flat_index_B: the
  # assignment is fixed, group index g of prompt slot r is decode slot r * G + g.
  slot_RG: np.ndarray | None


class Chunk(NamedTuple):
  """Result of decoding one chunk."""

  tokens_BC: jax.Array  # i32
  logps_BC: jax.Array  # f32: of the model at sampling.logps_temperature, before top-p and so on
  sampling_logps_BC: jax.Array  # f32: of the distribution sampled from
  label_logps_BCW: jax.Array  # f32: of the model, of the label tokens
  top_logps_BC: jax.Array  # f32: of the model, of its likeliest token
  count_B: jax.Array  # i32: tokens of the C that belong to the sample
  stopped_B: jax.Array  # bool: the sample's last token of this chunk is a stop token


class Programs(NamedTuple):
  """The three jitted programs; weights are an argument.

  prefill(params, batch): keys and values of a Batch of prompts.
  insert(cache, prefilled, slot_r): the KVCache with prefilled prompts in slots slot_r i32[r]; a row
    whose slot is R or more is dropped. The cache is donated.
  decode_chunk(params, cache, prompt_slots, decode_slots, sampling=, size=): the KVCache and the
    Chunk of `size` more tokens. The cache is donated.
  """

  prefill: Callable[[nnx.State, Batch], list[KeysValues] | KeysValues]
  insert: Callable[[KVCache, list[KeysValues] | KeysValues, np.ndarray], KVCache]
  decode_chunk: Callable[..., tuple[KVCache, Chunk]]

  def num_compiled(self) -> int:
    """Number of compilations so far."""
    return sum(program._cache_size() for program in self)


def make(
  graphdef: nnx.GraphDef,
  ids: TokenIds,
  *,
  prefill_chunk: int = 0,
  stacked: bool | None = None,
  keep_casts: bool = False,
) -> Programs:
  """The programs of a model.

  Args:
    graphdef: of the model.
    ids: stop, banned and label tokens.
    prefill_chunk: prompt positions that go through the model at a time, so that activations of long
      prompts need no more memory; 0: all.
    stacked: keep layers stacked; None: with keep_casts, and on a TPU, by sharding.platform() when
      traced.
    keep_casts: less memory, see sharding.is_cast_on_cpu.
  """
  stacked = True if stacked is None and keep_casts else stacked
  options = sharding.KEEP_CASTS if keep_casts else None
  return Programs(
    prefill=jax.jit(
      functools.partial(_prefill, graphdef, prefill_chunk, stacked), compiler_options=options
    ),
    insert=jax.jit(_insert, donate_argnums=0),
    decode_chunk=jax.jit(
      functools.partial(_decode_chunk, graphdef, ids),
      static_argnames=("sampling", "size"),
      donate_argnums=1,
      compiler_options=options,
    ),
  )


def _prefill(graphdef, prefill_chunk, stacked, params, batch):
  model = nnx.merge(graphdef, params)
  with jax.named_scope("prefill"):
    features_RMD = None if batch.pictures is None else model.features(batch.pictures)
    x_RSD = model.embed(batch.tokens, batch.visual, features_RMD)
    S = x_RSD.shape[1]
    size = min(prefill_chunk or S, S)
    first = slice(0, size)
    _, kv = model.prefill(x_RSD[:, first], batch.positions[:, first], batch.segments[:, first])
    for start in range(size, S, size):
      chunk, before = slice(start, start + size), batch.segments[:, :start] > 0
      _, new = model.extend(x_RSD[:, chunk], batch.positions[:, chunk], kv, before)
      kv = jnp.concatenate([kv[0], new[0]], -1), jnp.concatenate([kv[1], new[1]], -2)
  if stacked is None:
    stacked = sharding.platform() == "tpu"
  return kv if stacked else [(kv[0][i], kv[1][i]) for i in range(len(kv[0]))]


@functools.partial(jax.jit, static_argnames=("prompt_slots", "decode_slots", "parts"))
def empty_cache(
  prefilled: list[KeysValues] | KeysValues,
  *,
  prompt_slots: int,
  decode_slots: int,
  parts: tuple[int, ...],
) -> KVCache:
  """A KVCache of zeros into which results of `prefill` are inserted.

  Args:
    prefilled: a result of `prefill`; only its structure, shapes and dtype are read.
    prompt_slots, decode_slots: of all processes.
    parts: positions of each part of the answer cache.
  """

  def empty(kv):
    *lead, _, K, H, S = kv[0].shape

    def zeros(rows, length):
      return kv_cache.empty_kv_cache(rows, K, H, length, kv[0].dtype, layers=tuple(lead))

    return zeros(prompt_slots, S), [zeros(decode_slots, length) for length in parts]

  if isinstance(prefilled, list):
    cache = KVCache(*map(list, zip(*map(empty, prefilled), strict=True)))
  else:
    cache = KVCache(*empty(prefilled))
  return jax.tree.map(lambda x: sharding.constrain_if_even(x, *kv_cache.KV_AXES), cache)


def _insert(cache, prefilled, slot_r):
  def put(old, new):
    return old.at[..., slot_r, :, :, :].set(new, mode="drop")

  return cache._replace(prompts=jax.tree.map(put, cache.prompts, prefilled))


def _decode_chunk(graphdef, ids, params, cache, prompt_slots, decode_slots, *, sampling, size):
  model, slots = nnx.merge(graphdef, params), decode_slots
  head_VD = model.head  # cast once, outside of the loop
  blocks = layers.unstacked(model.layers) if isinstance(cache.prompts, list) else model.layers
  stop = np.array(ids.stop, np.int32)
  assignment = None
  if prompt_slots.slot_RG is not None:
    assignment = attention.Assignment(prompt_slots.slot_RG, slots.flat_index_B)
  context = attention.DecodeContext(
    cache.prompts, prompt_slots.mask_RS, cache.answers, slots.generated_B, assignment
  )
  keys_B = jax.vmap(lambda seed, g: jax.random.fold_in(jax.random.key(seed), g))(
    slots.seed_B, slots.sample_B
  )

  def unfinished(carry):
    t, _, _, done_B, *_ = carry
    return (t < size) & ~done_B.all()

  def step(carry):
    t, token_B, buffer, done_B, out, seen_VB = carry
    generated_B = slots.generated_B + t
    x_BD = model.embed(token_B[:, None])[:, 0]
    x_BD, buffer = model.decode(blocks, x_BD, slots.position_B + generated_B, context, buffer, t)
    step_keys_B = jax.vmap(jax.random.fold_in)(keys_B, generated_B)
    new = _sample_tokens(head_VD, x_BD, step_keys_B, done_B, seen_VB, sampling=sampling, ids=ids)
    out = _put_tokens(out, t, new, done_B, stop)
    if seen_VB is not None:
      seen_VB = seen_VB.at[new.token_B, jnp.arange(len(done_B))].set(True)
    done_B = done_B | out.stopped_B | (t + 1 >= slots.remaining_B)
    return t + 1, new.token_B, buffer, done_B, out, seen_VB

  with jax.named_scope("decode"):
    buffer, out = _empty_buffer(cache, len(slots.token_B), size), _empty_chunk(slots, size, ids)
    seen_VB = _unpacked(slots.seen_BV, len(head_VD))
    carry = (jnp.int32(0), slots.token_B, buffer, ~slots.active_B, out, seen_VB)
    _, _, buffer, _, out, _ = jax.lax.while_loop(unfinished, step, carry)
    cache = _append(cache, slots.generated_B, buffer)
  return cache, sharding.constrain_rows(out)


def _unpacked(seen_BV, vocab_size):
  """bool[V, B] of the bits of DecodeSlots.seen_BV; None of None."""
  if seen_BV is None:
    return None
  return jnp.unpackbits(seen_BV, axis=1, bitorder="little")[:, :vocab_size].T.astype(bool)


def _empty_buffer(cache, B, C):
  """Keys and values of the C positions of a chunk: an entry per layer, or stacks."""
  *lead, _, K, H, _ = jax.tree.leaves(cache.prompts)[0].shape
  zeros = functools.partial(
    kv_cache.empty_kv_cache, B, K, H, C, jax.tree.leaves(cache.prompts)[0].dtype
  )
  if isinstance(cache.prompts, list):
    return [zeros() for _ in cache.prompts]
  return zeros(layers=tuple(lead))


def _empty_chunk(slots, C, ids):
  B = len(slots.token_B)
  return Chunk(
    jnp.zeros((B, C), jnp.int32),
    jnp.zeros((B, C)),
    jnp.zeros((B, C)),
    jnp.zeros((B, C, len(ids.label))),
    jnp.zeros((B, C)),
    jnp.zeros(B, jnp.int32),
    jnp.zeros(B, bool),
  )


def _put_tokens(out, t, new, done_B, stop):
  """The Chunk with the tokens of step t."""

  def put(buffer, values):
    return jax.lax.dynamic_update_index_in_dim(buffer, values, t, axis=1)

  return out._replace(
    tokens_BC=put(out.tokens_BC, new.token_B),
    logps_BC=put(out.logps_BC, new.logp_B),
    sampling_logps_BC=put(out.sampling_logps_BC, new.sampling_logp_B),
    label_logps_BCW=put(out.label_logps_BCW, new.label_logps_BW),
    top_logps_BC=put(out.top_logps_BC, new.top_logp_B),
    count_B=out.count_B + ~done_B,
    stopped_B=out.stopped_B | (~done_B & jnp.isin(new.token_B, stop)),
  )


def _append(cache, generated_B, buffer):
  """The KVCache with a finished chunk written from position generated_B[b] on of each sample b."""

  def append(parts, new):
    return [
      kv_cache.write_chunk(part, generated_B - i * part[0].shape[-1], new)
      for i, part in enumerate(parts)
    ]

  if isinstance(cache.prompts, list):
    return cache._replace(answers=list(map(append, cache.answers, buffer)))
  return cache._replace(answers=append(cache.answers, buffer))


def _sample_tokens(head_VD, x_BD, keys_B, done_B, seen_VB, *, sampling: Sampling, ids: TokenIds):
  """The SampledTokens of every slot; arbitrary for a slot that is done.

  On a single CPU device most arithmetic of a small model is the product with the head. There it is
  computed only for the slots that are not done, rounded up to a quarter of all slots.
  """
  B = len(done_B)
  single_cpu = sharding.platform() == "cpu" and jax.sharding.get_abstract_mesh().size <= 1
  parts = math.gcd(4, B // ROW_MULTIPLE) if single_cpu and B % ROW_MULTIPLE == 0 else 1

  def sample(x_BD, keys_B, seen_VB):
    logits_VB = _logits(head_VD, x_BD, in_parts=single_cpu and head_VD.dtype.itemsize == 2)
    # First sharded as the head is, then by slots only, so that a device samples for its own slots.
    for vocabulary_axis in ("vocab", None):
      logits_VB = sharding.constrain_if_even(logits_VB, vocabulary_axis, "batch")
    return sampling_lib.sample_tokens(
      logits_VB, keys_B, sampling, banned_ids=ids.banned, label_ids=ids.label, seen_VB=seen_VB
    )

  if parts == 1:
    return sample(x_BD, keys_B, seen_VB)
  order_B = jnp.argsort(done_B)  # stable: slots that are not done come first

  def sample_first(size):
    rows = order_B[:size]

    def scatter(new):
      return jnp.zeros((B, *new.shape[1:]), new.dtype).at[rows].set(new)

    seen = None if seen_VB is None else seen_VB[:, rows]
    return jax.tree.map(scatter, sample(x_BD[rows], keys_B[rows], seen))

  sizes = [B * k // parts for k in range(1, parts + 1)]
  branch = (np.array(sizes[:-1]) < (~done_B).sum()).sum()  # the smallest size that holds them all
  return jax.lax.switch(branch, [functools.partial(sample_first, size) for size in sizes])


def _logits(head_VD, x_BD, *, in_parts):
  """f32[V, B]; in parts of the vocabulary the cast of the head never exists as a whole."""

  def product(w_CD):
    return jnp.einsum("CD,BD->CB", w_CD, x_BD, preferred_element_type=jnp.float32)

  V, C = len(head_VD), CAST_WORDS
  if not in_parts or V <= C:
    return product(head_VD)

  def write(i, logits_VB):
    first = jnp.minimum(i * C, V - C)  # the last part overlaps the one before
    part_CB = product(jax.lax.dynamic_slice_in_dim(head_VD, first, C))
    return jax.lax.dynamic_update_slice_in_dim(logits_VB, part_CB, first, 0)

  return jax.lax.fori_loop(0, -(-V // C), write, jnp.zeros((V, len(x_BD)), jnp.float32))
