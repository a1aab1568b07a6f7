"""Prompts to sampled answers: pictures and prompt once per group, then one token at a time.

Q prompts, G samples of each, B = Q * G sequences, S prompt positions, T answer tokens, D width,
V vocabulary, W watched tokens.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import nnx

from cot_rm.models import layers
from cot_rm.sampler import sampling as draw


@dataclasses.dataclass(frozen=True)
class Sample:
  """One sampled answer, before it is text."""

  tokens: np.ndarray  # i32[T], the stop token included where there is one
  logps: np.ndarray  # f32[T], of the model: before temperature, top-p, top-k and banned tokens
  watched: np.ndarray  # f32[T, W]: log-probabilities of the watched tokens at each step
  finish: str  # "stop" or "length"


class Engine:
  """Samples groups of answers. Keeps compiled programs, never weights."""

  def __init__(self, graphdef, *, stop_ids, banned_ids, watched_ids=()):
    """
    Args:
      graphdef: of the model.
      stop_ids: tokens that end an answer.
      banned_ids: tokens that are never sampled (those that stand for pictures).
      watched_ids: tokens whose log-probability is recorded at every step.
    """
    self.shapes = set()  # (sizes of a call) seen so far: one compiled program each
    self._generate = jax.jit(
      functools.partial(
        _generate, graphdef, tuple(stop_ids), tuple(banned_ids), tuple(watched_ids)
      ),
      static_argnames=("n", "sampling"),
    )

  def __call__(self, params, prompts, starts_Q, seeds_Q, *, n, sampling):
    """Samples `n` answers to each of the first len(seeds_Q) prompts of a Batch.

    Args:
      params: nnx.State of the model.
      prompts: schema.Batch of Q prompts padded on the right; rows past len(seeds_Q) are padding.
      starts_Q: i32, the M-RoPE position of a prompt's first answer token.
      seeds_Q: u32, what the randomness of a prompt's samples hangs on: sample g of a prompt depends
        on the weights, the prompt, its seed and g, on nothing else in the batch.
      n: answers per prompt.
      sampling: sampling.Sampling.

    Returns:
      Lists of n Samples, in the order of the prompts.
    """
    Q, S = prompts.tokens.shape
    P = 0 if prompts.pictures is None else prompts.pictures.patches.shape[1]
    if (shape := (Q, S, P, n, sampling)) not in self.shapes:
      self.shapes.add(shape)
      logging.info(
        "sampler: program %d: %d prompts of %d tokens and %d patches, %d answers each",
        len(self.shapes),
        Q,
        S,
        P,
        n,
      )
    pad = (0, Q - len(seeds_Q))
    out = jax.device_get(
      self._generate(
        params,
        prompts,
        np.pad(np.asarray(starts_Q, np.int32), pad),
        np.pad(np.asarray(seeds_Q, np.uint32), pad),
        np.arange(Q) < len(seeds_Q),
        n=n,
        sampling=sampling,
      )
    )
    tokens_BT, logps_BT, watched_BTW, length_B, stopped_B = out
    samples = [
      Sample(tokens_BT[b, :k], logps_BT[b, :k], watched_BTW[b, :k], "stop" if stop else "length")
      for b, (k, stop) in enumerate(zip(length_B, stopped_B, strict=True))
    ]
    return [samples[q * n : (q + 1) * n] for q in range(len(seeds_Q))]


def _generate(
  graphdef,
  stop_ids,
  banned_ids,
  watched_ids,
  params,
  prompts,
  starts_Q,
  seeds_Q,
  live_Q,
  *,
  n,
  sampling,
):
  model = nnx.merge(graphdef, params)
  Q, T = seeds_Q.shape[0], sampling.max_tokens
  B, W = Q * n, len(watched_ids)

  with jax.named_scope("prefill"):
    features_RMD = None if prompts.pictures is None else model.features(prompts.pictures)
    x_QSD = model.embed(prompts.tokens, prompts.visual, features_RMD)
    x_QSD, prompt_kv = model.prefill(x_QSD, prompts.positions, prompts.segments)
    x_QD, mask_QS = layers.at_end(x_QSD, prompts.segments), prompts.segments > 0
  logits = lambda x_BD: jnp.einsum(
    "BD,VD->BV", x_BD, model.head, preferred_element_type=jnp.float32
  )
  keys_B = jax.vmap(
    lambda seed: jax.vmap(lambda g: jax.random.fold_in(jax.random.key(seed), g))(jnp.arange(n))
  )(seeds_Q).reshape(-1)
  first_B = jnp.repeat(starts_Q, n)
  banned_V = np.zeros(model.head.shape[0], bool)
  banned_V[list(banned_ids)] = True

  def more(carry):
    t, *_, done_B = carry
    return (t < T) & ~done_B.all()

  def step(carry):
    t, logits_BV, cache, tokens_BT, logps_BT, watched_BTW, length_B, done_B = carry
    keys_t = jax.vmap(jax.random.fold_in, (0, None))(keys_B, t)
    token_B = draw.pick(jnp.where(banned_V[None], -jnp.inf, logits_BV), keys_t, sampling)
    logps_BV = jax.nn.log_softmax(logits_BV, axis=-1)
    logp_B = jnp.take_along_axis(logps_BV, token_B[:, None], axis=-1)[:, 0]
    tokens_BT = tokens_BT.at[:, t].set(token_B)
    logps_BT = logps_BT.at[:, t].set(logp_B)
    watched_BTW = watched_BTW.at[:, t].set(logps_BV[:, np.array(watched_ids, np.int32)])
    length_B = length_B + ~done_B
    done_B = done_B | jnp.isin(token_B, np.array(stop_ids, np.int32))
    positions_B13 = jnp.broadcast_to((first_B + t)[:, None, None], (B, 1, 3))
    x_B1D, cache = model.extend(
      model.embed(token_B[:, None]), positions_B13, prompt_kv, mask_QS, cache, t
    )
    return t + 1, logits(x_B1D[:, 0]), cache, tokens_BT, logps_BT, watched_BTW, length_B, done_B

  with jax.named_scope("decode"):
    carry = (
      jnp.int32(0),
      jnp.repeat(logits(x_QD), n, axis=0),
      layers.empty_cache(prompt_kv, B, T),
      jnp.zeros((B, T), jnp.int32),
      jnp.zeros((B, T)),
      jnp.zeros((B, T, W)),
      jnp.zeros(B, jnp.int32),
      jnp.repeat(~live_Q, n),
    )
    _, _, _, tokens_BT, logps_BT, watched_BTW, length_B, done_B = jax.lax.while_loop(
      more, step, carry
    )
  return tokens_BT, logps_BT, watched_BTW, length_B, done_B
