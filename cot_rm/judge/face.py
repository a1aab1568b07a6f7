"""The public face of a judge: it compares, scores and ranks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

from cot_rm import prompts, voting
from cot_rm.judge.asking import Asking
from cot_rm.sampler.sampling import Sampling
from cot_rm.schema import Example, PairVerdict


class Judge(Asking):
  """A reward model that compares two candidates by writing its reasoning and a verdict.

      judge = cot_rm.load("runs/tiny/rl/model")
      pair = cot_rm.Example.images("a red star", "a.png", "b.png")
      verdict = judge.compare(pair, votes=5, temperature=1.0)
      verdict.answer, verdict.probability, verdict.consistent, verdict.reasoning

  `compare` decides pairs; `complete` answers any chat about images and videos; `logps` scores a
  given text. `judge` and `sample` are what the stages build on: they return every completion with
  its log-probabilities.
  """

  @overload
  def compare(
    self,
    examples: Example,
    *,
    grammar: prompts.Name = prompts.DEFAULT,
    votes: int = 1,
    both_orders: bool = True,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_tokens: int = 1024,
    repetition_penalty: float | None = 1.0,
    seed: int = 0,
    vote_stop: bool = False,
  ) -> PairVerdict: ...

  @overload
  def compare(
    self,
    examples: Sequence[Example],
    *,
    grammar: prompts.Name = prompts.DEFAULT,
    votes: int = 1,
    both_orders: bool = True,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_tokens: int = 1024,
    repetition_penalty: float | None = 1.0,
    seed: int = 0,
    vote_stop: bool = False,
  ) -> list[PairVerdict]: ...

  def compare(
    self,
    examples: Example | Sequence[Example],
    *,
    grammar: prompts.Name = prompts.DEFAULT,
    votes: int = 1,
    both_orders: bool = True,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_tokens: int = 1024,
    repetition_penalty: float | None = 1.0,
    seed: int = 0,
    vote_stop: bool = False,
  ) -> PairVerdict | list[PairVerdict]:
    """Decides which candidate of each pair is better.

    Args:
      examples: one pair, or a list of pairs.
      grammar: the prompt and the form of the answer, best the one that the model was trained with.
        "think" (UnifiedReward-Think) and "direct" (UnifiedReward) take all tasks, "brief" is
        "think" for small models, "r1_reward" (R1-Reward) compares text answers only.
      votes: judgements per order; more than one needs a temperature above 0.
      both_orders: ask again with the candidates exchanged.
      temperature: of sampling; 0: greedy.
      top_p: sample among the likeliest tokens whose probabilities add up to it; 1: all.
      top_k: sample among this many of the likeliest tokens; 0: all.
      max_tokens: an answer is cut after this many tokens, and then has no verdict.
      repetition_penalty: lowers tokens that are in the prompt or the answer; 1: none; None: as the
        checkpoint's generation_config.json says.
      seed: of the sampling; the same seed gives the same verdicts.
      vote_stop: leave out votes that can no longer change a majority: the same answers from fewer
        votes, and a `probability` with a larger error.

    Returns:
      A PairVerdict about the pair as given; for a list of pairs a list of them. `answer` is the
      majority of all parsable votes, a tie decided by `probability`; `probability` is P(answer),
      the mean over all parsable votes, and 0.5 where that is less; `consistent` says whether both
      orders name the same candidate.

    Raises:
      ValueError: an unknown grammar, a value out of range, or an example that the grammar, its
        media or the buckets do not allow, by its id.
      TypeError: `examples` holds something else than Examples.
    """
    if votes < 1:
      raise ValueError(f"votes is {votes}; it must be 1 or more")
    if votes > 1 and temperature == 0:
      raise ValueError(f"votes is {votes}, and they would all be the same; set temperature above 0")
    pairs = [*examples] if isinstance(examples, Iterable) else [examples]
    for pair in pairs:
      if not isinstance(pair, Example):
        raise TypeError(
          f"examples must be Examples, not {type(pair).__name__}; make them with Example.images, "
          "Example.videos or Example.answers"
        )
    sampling = Sampling(
      temperature=temperature,
      top_p=top_p,
      top_k=top_k,
      max_tokens=max_tokens,
      repetition_penalty=repetition_penalty,
    )
    if both_orders:
      first, second = self.judge_both_orders(
        pairs, grammar=grammar, n=votes, sampling=sampling, seed=seed, vote_stop=vote_stop
      )
      verdicts = [
        voting.combine(a.verdicts, b.verdicts) for a, b in zip(first, second, strict=True)
      ]
    else:
      stop_group = voting.Decided(pairs, grammar=grammar, n=votes) if vote_stop else None
      judged = self.judge(
        pairs, grammar=grammar, n=votes, sampling=sampling, seed=seed, stop_group=stop_group
      )
      verdicts = [voting.combine(one.verdicts) for one in judged]
    return verdicts[0] if isinstance(examples, Example) else verdicts
