"""The public face of a judge: it compares, scores and ranks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

from absl import logging

from cot_rm import prompts, ranking, voting
from cot_rm.candidates import Candidates
from cot_rm.judge import scoring
from cot_rm.judge.asking import Asking, Read
from cot_rm.sampler.sampling import Sampling
from cot_rm.schema import Example, PairVerdict


class Judge(Asking):
  """A reward model that compares two candidates by writing its reasoning and a verdict.

      judge = cot_rm.load("runs/tiny/rl/model")
      pair = cot_rm.Example.images("a red star", "a.png", "b.png")
      verdict = judge.compare(pair, votes=5, temperature=1.0)
      verdict.answer, verdict.probability, verdict.consistent, verdict.reasoning

  `compare` decides pairs, `score` makes a number of each, and `rank` puts several candidates into
  an order; `complete` answers any chat about images and videos; `logps` scores a given text.
  `judge` and `sample` are what the stages build on: they return every completion with its
  log-probabilities.
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
    read: Read = "text",
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
    read: Read = "text",
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
    read: Read = "text",
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
      read: "text": the model writes its reasoning and its verdict. "direct": it writes nothing, and
        the probabilities of "1" and "2" after the opening of a verdict without reasoning decide;
        then `votes` is 1, and the arguments of sampling are not used.
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
    _check_votes(votes, temperature)
    pairs = _pairs(examples)
    sampling = Sampling(
      temperature=temperature,
      top_p=top_p,
      top_k=top_k,
      max_tokens=max_tokens,
      repetition_penalty=repetition_penalty,
    )
    judged = self.verdicts(
      pairs,
      both_orders=both_orders,
      grammar=grammar,
      n=votes,
      sampling=sampling,
      seed=seed,
      vote_stop=vote_stop,
      read=read,
    )
    verdicts = [voting.combine(*votes) for votes in judged]
    return verdicts[0] if isinstance(examples, Example) else verdicts

  @overload
  def score(
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
    read: Read = "text",
    clip: float = scoring.CLIP,
  ) -> scoring.PairScore: ...

  @overload
  def score(
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
    read: Read = "text",
    clip: float = scoring.CLIP,
  ) -> list[scoring.PairScore]: ...

  def score(
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
    read: Read = "text",
    clip: float = scoring.CLIP,
  ) -> scoring.PairScore | list[scoring.PairScore]:
    """Makes a number of each pair: how much better candidate 1 is than candidate 2.

    Args:
      examples: one pair, or a list of pairs.
      clip: the largest log-odds of one vote, above 0: certainty is no infinite number.
      grammar, votes, both_orders, temperature, top_p, top_k, max_tokens, repetition_penalty, seed,
        read: see `compare`.

    Returns:
      A PairScore about the pair as given; for a list of pairs a list. `log_odds` is the mean over
      the readable votes of an order and then over the orders, in nats, from -clip to clip;
      None where no vote is readable. `dimensions` are the mean scores that the reasonings write, in
      grammars that have them.

    Raises:
      ValueError, TypeError: as `compare`, or a clip that is not above 0.
    """
    scoring.check_clip(clip)
    _check_votes(votes, temperature)
    pairs = _pairs(examples)
    sampling = Sampling(
      temperature=temperature,
      top_p=top_p,
      top_k=top_k,
      max_tokens=max_tokens,
      repetition_penalty=repetition_penalty,
    )
    every = self.verdicts(
      pairs,
      both_orders=both_orders,
      grammar=grammar,
      n=votes,
      sampling=sampling,
      seed=seed,
      read=read,
    )
    scores = [scoring.score(*verdicts, clip=clip) for verdicts in every]
    return scores[0] if isinstance(examples, Example) else scores

  @overload
  def rank(
    self,
    candidates: Candidates,
    *,
    grammar: prompts.Name = prompts.DEFAULT,
    method: ranking.Method = "adaptive",
    goal: ranking.Goal = "best",
    comparisons: int | None = None,
    votes: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_tokens: int = 1024,
    repetition_penalty: float | None = 1.0,
    seed: int = 0,
    read: Read = "text",
  ) -> ranking.Ranking: ...

  @overload
  def rank(
    self,
    candidates: Sequence[Candidates],
    *,
    grammar: prompts.Name = prompts.DEFAULT,
    method: ranking.Method = "adaptive",
    goal: ranking.Goal = "best",
    comparisons: int | None = None,
    votes: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_tokens: int = 1024,
    repetition_penalty: float | None = 1.0,
    seed: int = 0,
    read: Read = "text",
  ) -> list[ranking.Ranking]: ...

  def rank(
    self,
    candidates: Candidates | Sequence[Candidates],
    *,
    grammar: prompts.Name = prompts.DEFAULT,
    method: ranking.Method = "adaptive",
    goal: ranking.Goal = "best",
    comparisons: int | None = None,
    votes: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_tokens: int = 1024,
    repetition_penalty: float | None = 1.0,
    seed: int = 0,
    read: Read = "text",
  ) -> ranking.Ranking | list[ranking.Ranking]:
    """Ranks several candidates for a question by comparisons of pairs, each in both orders.

        found = judge.rank(cot_rm.Candidates.images("a red star", ["a.png", "b.png", "c.png"]))
        found.best, found.order, found.strengths, found.standard_errors

    Strengths are those of the Bradley-Terry model, by maximum likelihood with a weak prior. A pair
    counts by the probability of its verdict, so that an unsure or contradictory judge counts as a
    tie, see ranking.fit. The pairs of all lists of candidates go to the sampler together, batch by
    batch. The most comparisons that will be asked are logged first.

    Args:
      candidates: the candidates for one question, or a list of such.
      method: "adaptive": after each batch the pairs that teach most; "round_robin": all pairs;
        "knockout": N - 1 pairs, whose winners go on.
      goal: of "adaptive": to find the "best" candidate, or the "order" of all.
      comparisons: the most judgements of "adaptive" for each N candidates, an order of a pair
        being one, whatever the votes; None: N log2 N, of N (N - 1) that there are.
      grammar, votes, temperature, top_p, top_k, max_tokens, repetition_penalty, seed, read: see
        `compare`.

    Returns:
      A Ranking; for a list of candidates a list of them. A candidate without a readable verdict has
      strength 0, the mean, with the standard error of the prior.

    Raises:
      ValueError, TypeError: as `compare`; an unknown method or goal, or too few comparisons.
    """
    _check_votes(votes, temperature)
    questions = _questions(candidates)
    sampling = Sampling(
      temperature=temperature,
      top_p=top_p,
      top_k=top_k,
      max_tokens=max_tokens,
      repetition_penalty=repetition_penalty,
    )
    tournaments = [
      ranking.Tournament(len(one), method=method, goal=goal, limit=comparisons, seed=seed)
      for one in questions
    ]
    logging.info(
      "rank: %d questions with %d candidates, %s: at most %d comparisons",
      *(len(questions), sum(map(len, questions)), method),
      sum(ranking.ORDERS * one.max_pairs for one in tournaments),
    )

    def compare(asked: list[tuple[int, ranking.Pair]]) -> list[ranking.Comparison]:
      verdicts = self.verdicts(
        [questions[at].pair(*pair) for at, pair in asked],
        both_orders=True,
        grammar=grammar,
        n=votes,
        sampling=sampling,
        seed=seed,
        read=read,
      )
      return [
        scoring.compared(*pair, *of_pair)
        for (_, pair), of_pair in zip(asked, verdicts, strict=True)
      ]

    found = ranking.play(tournaments, compare)
    return found[0] if isinstance(candidates, Candidates) else found


def _check_votes(votes: int, temperature: float) -> None:
  if votes < 1:
    raise ValueError(f"votes is {votes}; it must be 1 or more")
  if votes > 1 and temperature == 0:
    raise ValueError(f"votes is {votes}, and they would all be the same; set temperature above 0")


def _pairs(examples: Example | Sequence[Example]) -> list[Example]:
  """The pairs as a list. Raises TypeError for what is no Example."""
  pairs = [*examples] if isinstance(examples, Iterable) else [examples]
  for pair in pairs:
    if not isinstance(pair, Example):
      raise TypeError(
        f"examples must be Examples, not {type(pair).__name__}; make them with Example.images, "
        "Example.videos, Example.answers or Example.mixed"
      )
  return pairs


def _questions(candidates: Candidates | Sequence[Candidates]) -> list[Candidates]:
  """The candidates as a list. Raises TypeError for what is no Candidates."""
  given = [*candidates] if isinstance(candidates, Iterable) else [candidates]
  for one in given:
    if not isinstance(one, Candidates):
      raise TypeError(
        f"candidates must be Candidates, not {type(one).__name__}; make them with "
        "Candidates.images, Candidates.videos or Candidates.answers"
      )
  return given
