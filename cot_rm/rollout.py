"""A rollout: groups of judgements of the same questions, and what each is worth.

Q prompts, G samples of each, T tokens of an answer.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import time
from typing import NamedTuple

import numpy as np

from cot_rm import distributed, prompts, rewards
from cot_rm.data import packing, sample_records

SILENT = ("keep", "drop", "resample")  # what becomes of groups whose rewards are equal


@dataclasses.dataclass(frozen=True)
class Rollout:
  """Judgements of Q prompts, G of each, with their rewards."""

  judged: list  # of judge.Judgement
  rewards_QG: np.ndarray  # f32[Q, G]; NaN: could not be computed
  parts: dict  # {reward: f32[Q, G]}
  metrics: dict

  @property
  def lengths_QG(self):
    """i64[Q, G]: tokens of each answer."""
    return np.array([[len(c.tokens) for c in j.completions] for j in self.judged])

  @property
  def spread_Q(self):
    """f32[Q]: how far the rewards of a group lie apart; 0 where it agrees, or none is known."""
    return spread(self.rewards_QG)

  def chosen(self, silent, most, *, least):
    """i64: places of the groups that are trained on, `least` to `most` of them.

    Args:
      silent: of SILENT; but for "keep" groups that agree are left out, unless too few differ.
    """
    if silent not in SILENT:
      raise ValueError(f"config.rl.silent is {silent!r}; known: {', '.join(SILENT)}")
    every = np.arange(len(self.judged))
    if silent == "keep":
      return every[:most]
    differ = self.spread_Q > 0
    chosen = every[differ][:most]
    return np.concatenate([chosen, every[~differ][: max(least - len(chosen), 0)]])

  def records(self, *, groups=4, each=2, ends=4):
    """What people read, with rewards: of the groups the first judgements, and "best" and "worst".

    These are what earned most, and least where that is less; one of a group at either end.
    """
    known = [tuple(at) for at in np.argwhere(~np.isnan(self.rewards_QG)).tolist()]
    ranked = sorted(known, key=lambda at: -self.rewards_QG[at])
    kinds = dict.fromkeys(_one_each(ranked)[:ends], "best")
    less = [at for at in ranked[::-1] if self.rewards_QG[at] < self.rewards_QG[ranked[0]]]
    for at in _one_each(less)[:ends]:
      kinds[at] = "worst"
    for q, judged in enumerate(self.judged[:groups]):
      for g in range(min(each, len(judged.completions))):
        kinds.setdefault((q, g), "sample")
    out = []
    for (q, g), kind in kinds.items():
      judged = self.judged[q]
      worth = {"total": self.rewards_QG[q, g]}
      worth |= {name: values[q, g] for name, values in self.parts.items()}
      shown = {name: value for name, value in worth.items() if not np.isnan(value)}
      one = sample_records.record(judged.example, judged.completions[g], judged.verdicts[g], shown)
      out.append(one | {"kind": kind})
    return out


class _Scores(NamedTuple):
  """What rewards.score gives, and the seconds that it took."""

  rewards_QG: np.ndarray
  metrics: dict
  parts: dict
  seconds: float


@dataclasses.dataclass(frozen=True)
class Sampled:
  """Judgements of Q prompts, G of each, whose rewards may still be on their way."""

  judged: list  # of judge.Judgement
  metrics: dict  # of sampling
  rounds: tuple  # of Futures of _Scores, a round of sampling each; the last one's are of all

  def scored(self):
    """The Rollout, when its rewards are there. Raises what rewards.score raised."""
    rounds = [scores.result() for scores in self.rounds]
    rewards_QG, metrics, parts, _ = rounds[-1]
    metrics = metrics | self.metrics
    metrics["rl/silent_groups"] = np.mean(spread(rewards_QG) == 0)
    metrics["time/rewards"] = sum(scores.seconds for scores in rounds)
    return Rollout(self.judged, rewards_QG, parts, metrics)


def asked(example, encode, weights):
  """[(Example, Encoded)] of a question: asked both ways where the reward "swap" has a weight."""
  ways = (example, example.swapped()) if "swap" in weights else (example,)
  return [(way, encode(way)) for way in ways]


def roll(data, policy, i, *, grammar, group, how, seed, weights, ask, wanted, rounds, later=None):
  """Samples rollout number i; returns Sampled.

  Args:
    data: an iterator of lists of what `asked` returns.
    policy: a Judge.
    grammar: its name.
    group: samples of each prompt.
    how: sampling.Sampling.
    seed: of the run.
    weights, ask: see rewards.score.
    wanted, rounds: until so many groups differ in their rewards, but at most so many times, more
      questions are sampled (DAPO's dynamic sampling, arXiv:2503.14476).
    later: an Executor that computes the rewards after the last round, on which no sampling hangs,
      while the caller goes on; None: they are there on return.
  """
  judged, scores, sampled = [], [], 0.0
  policy.report()  # what others sampled is not this rollout's
  for again in range(rounds):
    examples, encoded = zip(*itertools.chain.from_iterable(next(data)), strict=True)
    start = time.monotonic()
    judged += policy.judge(
      examples,
      grammar=grammar,
      n=group,
      how=how,
      seed=seed + i + 1_000_003 * again,
      encoded=encoded,
    )
    sampled += time.monotonic() - start
    last = again + 1 == rounds
    score = functools.partial(_score, [*judged], prompts.get(grammar), weights, ask)
    scores.append(later.submit(score) if last and later else _done(score()))
    # Sampling is everyone's together: all go on while one process wants more.
    if last or _enough(scores[-1].result().rewards_QG, wanted):
      break
  metrics = policy.report() | _figures(judged, sampled) | {"rl/rounds": len(scores)}
  return Sampled(judged, metrics, tuple(scores))


def _score(judged, grammar, weights, ask):
  began = time.monotonic()
  found = rewards.score(
    [j.completions for j in judged], [j.example for j in judged], grammar, weights, ask
  )
  return _Scores(*found, time.monotonic() - began)


def _done(value):
  """A Future that has its result."""
  future = concurrent.futures.Future()
  future.set_result(value)
  return future


def _enough(rewards_QG, wanted):
  return distributed.all_gather_host([(spread(rewards_QG) > 0).sum()]).min() >= wanted


def _figures(judged, seconds):
  """Of judgements that took so many seconds to sample."""
  completions = [c for j in judged for c in j.completions]
  answers = [v.answer for j in judged for v in j.verdicts if v.answer is not None]
  lengths = [len(c.tokens) for c in completions]
  return {
    "rl/parse_rate": len(answers) / len(completions),
    "rl/first_slot": answers.count(1) / max(len(answers), 1),
    "rl/mean_length": np.mean(lengths),
    "rl/cut": np.mean([c.finish == "length" for c in completions]),
    "sampler/tokens_per_s": sum(lengths) / seconds,
    "time/rollout": seconds,
  }


def spread(rewards_QG):
  """See Rollout.spread_Q."""
  known_QG = ~np.isnan(rewards_QG)
  most_Q = np.where(known_QG, rewards_QG, -np.inf).max(1)
  least_Q = np.where(known_QG, rewards_QG, np.inf).min(1)
  return np.where(known_QG.any(1), most_Q - least_Q, 0.0)


def _one_each(places):
  """The first place of each group."""
  out = {}
  for q, g in places:
    out.setdefault(q, (q, g))
  return [*out.values()]


def items(judgement, advantages=None):
  """A group's samples as packing.Items; advantages: f32[G], or f32[G, T] of each token."""
  out = []
  for g, completion in enumerate(judgement.completions):
    advantage = 0.0 if advantages is None else advantages[g]
    if np.ndim(advantage):
      advantage = advantage[: len(completion.tokens)]
    out.append(packing.Item(judgement.prompt, completion.tokens, completion.logps, advantage))
  return out
