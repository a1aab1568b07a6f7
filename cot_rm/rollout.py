"""A rollout: groups of sampled judgements, their rewards, and the groups to train on.

Q prompts, G samples of each prompt, T tokens of an answer.
"""

import concurrent.futures
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from flax import nnx

from cot_rm import distributed, prompts, rewards
from cot_rm.batch import Encoded
from cot_rm.data import packing, sample_records
from cot_rm.judge import Judge, Judgement
from cot_rm.rewards import Ask
from cot_rm.sampler import sampling, stats
from cot_rm.schema import Example

EncodedPrompt = tuple[Example, Encoded]
# Zero-variance groups, whose rewards are all equal, are trained on, left out, or left out while
# other prompts are sampled in their place (DAPO's dynamic sampling, arXiv:2503.14476).
ZeroVariance = Literal["keep", "drop", "resample"]
TOTAL = "total"  # the weighted sum of all rewards

RESAMPLE_STRIDE = 1_000_003  # between the seeds of the sampling rounds of a rollout


@dataclasses.dataclass(frozen=True)
class Config:
  """How rollouts are sampled and scored."""

  grammar: str  # of prompts.PROMPTS
  group: int  # samples per prompt
  sampling: sampling.Sampling
  seed: int  # of the run; rollout i samples with seed + i
  rewards: Mapping[str, float]  # weights, see rewards.score
  zero_variance: ZeroVariance
  resample_by: str  # with "resample", the reward in which a group must vary; or TOTAL
  train_prompts: int  # groups that are trained on, at most
  max_resample_rounds: int  # rounds of sampling a rollout, at most; for zero_variance "resample"

  def __post_init__(self) -> None:
    if self.zero_variance not in get_args(ZeroVariance):
      raise ValueError(
        f"zero_variance is {self.zero_variance!r} (config.rl.zero_variance); "
        f"known: {', '.join(get_args(ZeroVariance))}"
      )
    if self.sampling.repetition_penalty != 1:
      raise ValueError(
        f"repetition_penalty is {self.sampling.repetition_penalty} "
        "(config.rl.sampling.repetition_penalty); RL needs 1: with another one the samples are not "
        "the policy's own, and the ratio of RL would be wrong"
      )
    if self.varies_by != TOTAL and self.varies_by not in self.rewards:
      raise ValueError(
        f"resample_by is {self.resample_by!r} (config.rl.resample_by), which is none of the "
        f"rewards (config.rl.rewards): {', '.join(self.rewards)}; name one of them, or {TOTAL!r}"
      )

  @property
  def varies_by(self) -> str:
    """The reward in which a group must vary to be trained on, if not all groups are; or TOTAL."""
    return self.resample_by if self.zero_variance == "resample" else TOTAL

  @property
  def rounds(self) -> int:
    """Rounds of sampling a rollout, at most."""
    return self.max_resample_rounds if self.zero_variance == "resample" else 1


@dataclasses.dataclass(frozen=True)
class Rollout:
  """Judgements of Q prompts, G of each, with their rewards."""

  judged: Sequence[Judgement]
  rewards_QG: np.ndarray  # f32[Q, G]; NaN: could not be computed
  parts: Mapping[str, np.ndarray]  # {reward: f32[Q, G]}
  metrics: Mapping[str, float]
  varies_by: str = TOTAL  # of `parts`, or TOTAL: the reward in which a group must vary

  @property
  def lengths_QG(self) -> np.ndarray:
    """i64[Q, G]: tokens of each answer."""
    return np.array([[len(c.tokens) for c in j.completions] for j in self.judged])

  @property
  def spread_Q(self) -> np.ndarray:
    """f32[Q]: greatest minus least known reward of a group; 0 for a zero-variance group."""
    return reward_spread(self.rewards_QG)

  def train_groups(self, zero_variance: ZeroVariance, most: int, *, least: int) -> np.ndarray:
    """i64[N]: indices of the groups to train on, with least <= N <= most.

    Args:
      zero_variance: "keep" takes the first groups; else groups that do not vary in the reward
        `varies_by` are left out, unless fewer than `least` others exist.
      most, least: bounds of the number of groups.
    """
    every = np.arange(len(self.judged))
    if zero_variance == "keep":
      return every[:most]
    varied = _varied(self.rewards_QG, self.parts, self.varies_by)
    chosen = every[varied][:most]
    return np.concatenate([chosen, every[~varied][: max(least - len(chosen), 0)]])

  def records(self, *, groups: int = 4, each: int = 2, ends: int = 4) -> list[dict]:
    """Sample records with rewards, for people to read.

    Args:
      groups, each: of the first `groups` groups the first `each` judgements ("sample").
      ends: judgements with the highest ("best") and the lowest rewards ("worst"), at most one of a
        group at either end. With equal rewards there is no "worst".
    """
    known = [(q, g) for q, g in np.argwhere(~np.isnan(self.rewards_QG)).tolist()]
    ranked = sorted(known, key=lambda at: -self.rewards_QG[at])
    kinds = dict.fromkeys(_first_of_each_group(ranked)[:ends], "best")
    less = [at for at in ranked[::-1] if self.rewards_QG[at] < self.rewards_QG[ranked[0]]]
    for at in _first_of_each_group(less)[:ends]:
      kinds[at] = "worst"
    for q, judged in enumerate(self.judged[:groups]):
      for g in range(min(each, len(judged.completions))):
        kinds.setdefault((q, g), "sample")
    return [self._record(q, g) | {"kind": kind} for (q, g), kind in kinds.items()]

  def _record(self, q: int, g: int) -> dict:
    judged = self.judged[q]
    totals = {"total": self.rewards_QG} | dict(self.parts)
    shown = {name: x_QG[q, g] for name, x_QG in totals.items() if not np.isnan(x_QG[q, g])}
    return sample_records.to_record(
      judged.example, judged.completions[g], judged.verdicts[g], shown
    )


class _Scores(NamedTuple):
  """The result of rewards.score, and the seconds that it took."""

  rewards_QG: np.ndarray
  metrics: dict[str, float]
  parts: dict[str, np.ndarray]
  seconds: float


@dataclasses.dataclass(frozen=True)
class Sampled:
  """Judgements of Q prompts, G of each; their rewards may still be in computation."""

  judged: Sequence[Judgement]
  metrics: dict[str, float]  # of sampling
  rounds: tuple[concurrent.futures.Future, ...]  # _Scores after each round, of all its judgements
  varies_by: str  # see Rollout

  def scored(self) -> Rollout:
    """Waits for the rewards. An exception of rewards.score is raised here."""
    rounds = [scores.result() for scores in self.rounds]
    rewards_QG, metrics, parts, _ = rounds[-1]
    metrics = metrics | self.metrics
    metrics["rl/silent_groups"] = np.mean(reward_spread(rewards_QG) == 0)
    metrics["time/rewards"] = sum(scores.seconds for scores in rounds)
    return Rollout(self.judged, rewards_QG, parts, metrics, self.varies_by)


def encoded_prompts(
  example: Example, encode: Callable[[Example], Encoded], both_orders: bool
) -> list[EncodedPrompt]:
  """[(example, its prompt)]: of the example; with both_orders followed by the swapped example."""
  orders = (example, example.swapped()) if both_orders else (example,)
  return [(order, encode(order)) for order in orders]


def sample_rollout(
  data: Iterator[list[list[EncodedPrompt]]],
  policy: Judge,
  i: int,
  config: Config,
  ask: Ask | None = None,
  scorer: concurrent.futures.Executor | None = None,
) -> Sampled:
  """Samples rollout number i and begins to score it.

  With zero_variance "resample" more prompts are sampled until train_prompts groups of each process
  vary in the reward `resample_by`, or max_resample_rounds is reached.

  Args:
    data: batches: a list of the results of `encoded_prompts`, one per example.
    policy: the judge that is trained.
    i: number of the rollout, from 0.
    config: how to sample and score.
    ask: asks the judge model, see rewards.score; None: there is no judge model.
    scorer: executor that computes the rewards of the last round in the background; None: they
      are computed before this function returns.
  """
  judged, scores, seconds, work = [], [], 0.0, stats.Stats()
  for number in range(config.rounds):
    examples, encoded = zip(*itertools.chain.from_iterable(next(data)), strict=True)
    policy.engine.report()  # discards the work of other callers, a frozen policy as judge included
    start = time.monotonic()
    judged += policy.judge(
      examples,
      grammar=config.grammar,
      n=config.group,
      sampling=config.sampling,
      seed=config.seed + i + RESAMPLE_STRIDE * number,
      encoded=encoded,
    )
    seconds += time.monotonic() - start
    work += policy.engine.report()
    last = number + 1 == config.rounds
    if last and scorer:
      scores.append(scorer.submit(_score, [*judged], config, ask))
    else:
      scores.append(_done(_score([*judged], config, ask)))
    # All processes sample together: all go on while one of them needs more groups.
    if last or _enough(scores[-1].result(), config):
      break
  metrics = work.metrics() | _sampling_metrics(judged, seconds) | {"rl/rounds": len(scores)}
  return Sampled(judged, metrics, tuple(scores), config.varies_by)


class Rollouts:
  """Rollouts of a policy in order; the next one may be sampled in a thread while the caller trains.

  The engine serves one caller at a time: between `start` and `take`, call `wait` before sampling
  anything else with the same engine. A context manager: leaving the block ends the thread.
  """

  def __init__(
    self,
    data: Iterator[list[list[EncodedPrompt]]],
    policy: Judge,
    config: Config,
    ask: Ask | None = None,
    *,
    score_in_thread: bool = False,
  ) -> None:
    """Samples nothing yet.

    Args:
      data, config, ask: see `sample_rollout`.
      policy: its parameters are not read: `start` and `take` are given parameters.
      score_in_thread: rewards of the last round are computed in the background. Must be False for
        a judge model that samples with the same engine.
    """
    self._data, self._policy, self._config, self._ask = data, policy, config, ask
    self._pool = concurrent.futures.ThreadPoolExecutor(1)
    self._scorer = concurrent.futures.ThreadPoolExecutor(1) if score_in_thread else None
    self._pending: concurrent.futures.Future[Sampled] | None = None

  def _sample(self, i: int, params: nnx.State) -> Sampled:
    policy = self._policy.using(params)
    return sample_rollout(self._data, policy, i, self._config, self._ask, self._scorer)

  def start(self, i: int, params: nnx.State) -> None:
    """Begins to sample rollout i in a thread; keep `params` alive until `take` has returned it."""
    self._pending = self._pool.submit(self._sample, i, params)

  def take(self, i: int, params: nnx.State) -> Sampled:
    """Waits for the rollout that `start` began; without one, samples rollout i with `params`."""
    if self._pending is None:
      return self._sample(i, params)
    pending, self._pending = self._pending, None
    return pending.result()

  def wait(self) -> None:
    """Waits until no rollout is being sampled. An exception of the sampling is raised here."""
    if self._pending is not None:
      self._pending.result()

  def __enter__(self) -> "Rollouts":
    return self

  def __exit__(self, *_: object) -> None:
    self._pool.shutdown(wait=True)
    if self._scorer is not None:
      self._scorer.shutdown(wait=True)


def _score(judged: list[Judgement], config: Config, ask: Ask | None) -> _Scores:
  began = time.monotonic()
  found = rewards.score(judged, prompts.get(config.grammar), config.rewards, ask)
  return _Scores(*found, time.monotonic() - began)


def _done(scores: _Scores) -> concurrent.futures.Future:
  """A Future that is already completed with `scores`."""
  future = concurrent.futures.Future()
  future.set_result(scores)
  return future


def _enough(scores: _Scores, config: Config) -> bool:
  """Whether every process has `train_prompts` groups that vary."""
  varied = _varied(scores.rewards_QG, scores.parts, config.varies_by).sum()
  return distributed.all_gather_host([varied]).min() >= config.train_prompts


def _varied(rewards_QG: np.ndarray, parts: Mapping[str, np.ndarray], by: str) -> np.ndarray:
  """bool[Q]: whether a group's values of the reward `by` are not all equal."""
  return reward_spread(rewards_QG if by == TOTAL else parts[by]) > 0


def _sampling_metrics(judged: list[Judgement], seconds: float) -> dict[str, float]:
  """Metrics of judgements that were sampled in `seconds`."""
  completions = [c for j in judged for c in j.completions]
  answers = [v.answer for j in judged for v in j.verdicts if v.answer is not None]
  lengths = [len(c.tokens) for c in completions]
  return {
    "rl/parse_rate": len(answers) / len(completions),
    "rl/first_slot": answers.count(1) / max(len(answers), 1),
    "rl/mean_length": float(np.mean(lengths)),
    "rl/cut": float(np.mean([c.finish == "length" for c in completions])),
    "sampler/tokens_per_s": sum(lengths) / seconds,
    "time/rollout": seconds,
  }


def reward_spread(rewards_QG: np.ndarray) -> np.ndarray:
  """f32[Q]: see Rollout.spread_Q; 0 where no reward of the group is known."""
  known_QG = ~np.isnan(rewards_QG)
  most_Q = np.where(known_QG, rewards_QG, -np.inf).max(1)
  least_Q = np.where(known_QG, rewards_QG, np.inf).min(1)
  return np.where(known_QG.any(1), most_Q - least_Q, 0.0)


def _first_of_each_group(indices: list[tuple[int, int]]) -> list[tuple[int, int]]:
  """The first (q, g) of each q."""
  first = {}
  for q, g in indices:
    first.setdefault(q, (q, g))
  return [*first.values()]


def items(judgement: Judgement, advantages: np.ndarray | None = None) -> list[packing.Item]:
  """The samples of a group as packing.Items.

  advantages: f32[G], or f32[G, T] of each token; None: all are 0.
  """
  out = []
  for g, completion in enumerate(judgement.completions):
    if advantages is None:
      advantage = 0.0
    elif advantages.ndim == 1:
      advantage = float(advantages[g])
    else:
      advantage = advantages[g, : len(completion.tokens)]
    out.append(packing.Item(judgement.prompt, completion.tokens, completion.logps, advantage))
  return out
