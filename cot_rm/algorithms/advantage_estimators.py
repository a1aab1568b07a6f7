"""From rewards to advantages: against the group, or against all tokens of a rollout. In numpy.

Q questions, G samples of each, T tokens of an answer. Arithmetic is in float64, where the mean of
equal float32 rewards is exactly that reward: who agrees gets an advantage of exactly 0. A reward
that is NaN (it could not be computed) is left out and gets advantage 0.
"""

import numpy as np


def against_group(rewards_QG):
  """(f64[Q, G]: rewards minus their group's mean, i64[Q, 1]: how many rewards that group has).

  Raises:
    ValueError: a group of one has nothing to compare with.
  """
  rewards_QG = np.asarray(rewards_QG, np.float32).astype(np.float64)
  if rewards_QG.shape[1] < 2:
    raise ValueError(
      f"a group of {rewards_QG.shape[1]} teaches nothing: the samples of one question are compared "
      f"with each other; raise config.rl.group to 2 or more"
    )
  known_QG = ~np.isnan(rewards_QG)
  count_Q1 = known_QG.sum(1, keepdims=True)
  mean_Q1 = np.where(known_QG, rewards_QG, 0).sum(1, keepdims=True) / np.maximum(count_Q1, 1)
  return np.where(known_QG, rewards_QG - mean_Q1, 0), count_Q1


def of_tokens(rewards_QG, lengths_QG, kl, kl_QGT=None):
  """Returns G_t = sum over u >= t of r_u, where r_u is -kl * k_u, and the reward at the last token.

  Without a KL term all tokens of an answer have the same return, and T is 1.

  Args:
    rewards_QG: one for each answer.
    lengths_QG: tokens of each answer.
    kl: weight of the penalty; 0 for none.
    kl_QGT: its k1 = log p(sampling policy) - log p(reference) at each token; T is at least the
      longest answer, and what stands past an answer's end does not count.

  Returns:
    (f64[Q, G, T] returns, i64[Q, G, T]: how many tokens each entry stands for; 0 for padding and
    where the reward is NaN).
  """
  rewards_QG = np.asarray(rewards_QG, np.float32).astype(np.float64)
  lengths_QG = np.asarray(lengths_QG)
  known_QG = ~np.isnan(rewards_QG)
  if not kl:
    return rewards_QG[..., None], (lengths_QG * known_QG)[..., None]
  if kl_QGT is None or kl_QGT.shape[-1] < lengths_QG.max():
    given = "none" if kl_QGT is None else f"{kl_QGT.shape[-1]} tokens of them"
    raise ValueError(
      f"a KL weight of {kl} needs the log-ratios to the reference of answers of up to "
      f"{lengths_QG.max()} tokens, and {given} came"
    )
  counts_QGT = (np.arange(kl_QGT.shape[-1]) < lengths_QG[..., None]) & known_QG[..., None]
  penalties_QGT = np.where(counts_QGT, kl * np.asarray(kl_QGT, np.float64), 0)
  to_come_QGT = np.cumsum(penalties_QGT[..., ::-1], axis=-1)[..., ::-1]
  return rewards_QG[..., None] - to_come_QGT, counts_QGT.astype(np.int64)


def against_batch(rewards_QG, lengths_QG, settings, kl_QGT=None):
  """Returns of tokens in standard deviations of all tokens of the rollout, as REINFORCE++ does it.

  Mean and (population) variance are over tokens: a long answer weighs more in them. The rewards are
  those of all processes, where there is more than one.

  Args:
    rewards_QG, lengths_QG, kl_QGT: see `of_tokens`.
    settings: has `kl`; `reward_bound`, within which rewards are clamped; `epsilon`, the least
      variance.

  Returns:
    (f64[Q, G, T] z, the mean return; T as in `of_tokens`).
  """
  bounded_QG = np.clip(np.asarray(rewards_QG), -settings.reward_bound, settings.reward_bound)
  returns_QGT, counts_QGT = of_tokens(bounded_QG, lengths_QG, settings.kl, kl_QGT)
  total = max(counts_QGT.sum(), 1)
  mean = np.where(counts_QGT, returns_QGT * counts_QGT, 0).sum() / total
  off_QGT = np.where(counts_QGT, returns_QGT - mean, 0)
  variance = (np.square(off_QGT) * counts_QGT).sum() / total
  return off_QGT / np.sqrt(max(variance, settings.epsilon)), mean


def shaped(z_QGT, settings):
  """What `advantages` gives: f32[Q, G, T], or f32[Q, G] where all tokens of an answer are alike."""
  z_QGT = z_QGT.astype(np.float32)
  return z_QGT if settings.kl else z_QGT[..., 0]


def effective(advantages):
  """{"rl/effective_groups": share of the sampled groups with an advantage other than 0}.

  These carry a signal. One whose rewards are equal does not where it is its own baseline, but may
  where the whole rollout is; one that differs does not where a filter takes all of it out.

  Args:
    advantages: f32[Q, G] or f32[Q, G, T], 0 past an answer's end.
  """
  signal_Q = (np.asarray(advantages) != 0).reshape(len(advantages), -1).any(1)
  return {"rl/effective_groups": signal_Q.mean()}


def filtered(advantages, lengths_QG, right_QG):
  """Shares of the tokens whose advantage is 0, from which nothing is learnt.

  Args:
    advantages: f32[Q, G] or f32[Q, G, T].
    lengths_QG: tokens of each answer.
    right_QG: 1 where the answer is right, 0 where it is wrong, NaN where nobody knows.

  Returns:
    {"rl/filtered": of all tokens, "rl/filtered_right": of those of right answers,
    "rl/filtered_wrong": of wrong ones}; NaN where there are none.
  """
  lengths_QG, right_QG = np.asarray(lengths_QG), np.asarray(right_QG)
  zero = np.asarray(advantages) == 0
  if zero.ndim == 2:
    zeros_QG = zero * lengths_QG
  else:
    zeros_QG = (zero & (np.arange(zero.shape[-1]) < lengths_QG[..., None])).sum(-1)
  share = lambda of_QG: (
    float(zeros_QG[of_QG].sum() / lengths_QG[of_QG].sum()) if lengths_QG[of_QG].sum() else np.nan
  )
  return {
    "rl/filtered": share(np.ones(lengths_QG.shape, bool)),
    "rl/filtered_right": share(right_QG == 1),
    "rl/filtered_wrong": share(right_QG == 0),
  }
