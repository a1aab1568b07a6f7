"""A policy that is asked about pairs by a grammar: what the stages build on.

Judgements keep every completion with its log-probabilities.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from cot_rm import models, prompts, registry, voting
from cot_rm.batch import Encoded
from cot_rm.policy import LABELS, Policy
from cot_rm.prompts import Grammar
from cot_rm.sampler import text_stops
from cot_rm.sampler.sampling import Sampling
from cot_rm.schema import CHOICES, BadExample, Completion, Example, Task, Verdict

# How a verdict is read. "text": the model writes its judgement. "direct": it writes nothing. The
# prompt goes on with the opening of a verdict without reasoning ("<answer>Image "), and the
# probabilities of "1" and "2" as the next token are the verdict, whatever other token is likelier.
Read = Literal["text", "direct"]
READS: tuple[Read, ...] = get_args(Read)

_ROUNDING = 1e-5  # by which two log-probabilities of one token may differ


@dataclasses.dataclass(frozen=True)
class Judgement:
  """The sampled completions of one example in one order, each with its verdict."""

  example: Example
  prompt: Encoded
  completions: tuple[Completion, ...]
  verdicts: tuple[Verdict, ...]  # one per completion, in order


class Asking(Policy):
  """A policy that is asked about pairs; `Judge` is its public face."""

  def judge(
    self,
    examples: Sequence[Example],
    *,
    grammar: str,
    n: int,
    sampling: Sampling,
    seed: int,
    progress: Callable[[int], None] | None = None,
    encoded: Sequence[Encoded] | None = None,
    stop_group: Callable[[int, list[str]], bool] | None = None,
    read: Read = "text",
  ) -> list[Judgement]:
    """Samples n judgements of each example, with its candidates in the given order.

    Args:
      examples: pairs.
      grammar: a name in prompts.PROMPTS.
      n: judgements per example.
      sampling: temperature, top-p, top-k and length of the sampling.
      seed: of the sampling.
      progress: see `sample`.
      encoded: the examples as `encode` returns them; None: they are encoded here.
      stop_group: see `sample`.
      read: "direct": nothing is sampled, `sampling` is not used and n must be 1; see Read. The
        completion is then the shortest text with the verdict, of one token: its digit.

    Returns:
      One Judgement per example.

    Raises:
      ValueError: an example that the grammar, its media or the buckets do not allow, by its id; an
        unknown `read`, several direct reads, or a tokenizer without a token for the digit.
    """
    words, read = prompts.get(grammar), registry.lookup({r: r for r in READS}, read, "read")
    if read == "direct":
      if n != 1:
        raise ValueError(f"{n} votes of a direct read would all be the same; it has one")
      sampling = Sampling(temperature=0.0, max_tokens=1)
    if encoded is None:
      encoded = [self.encode(e, grammar=grammar, read=read) for e in examples]
    groups = self.sample(
      encoded, n=n, sampling=sampling, seed=seed, progress=progress, stop_group=stop_group
    )
    if read == "direct":
      groups = [
        [self._next_label(group[0], e.task, words)]
        for e, group in zip(examples, groups, strict=True)
      ]
    return [
      self._judgement(e, prompt, group, words, read)
      for e, prompt, group in zip(examples, encoded, groups, strict=True)
    ]

  def judge_both_orders(
    self,
    examples: Sequence[Example],
    *,
    grammar: str,
    n: int,
    sampling: Sampling,
    seed: int,
    progress: Callable[[int], None] | None = None,
    vote_stop: bool = False,
    read: Read = "text",
  ) -> tuple[list[Judgement], list[Judgement]]:
    """`judge` of the examples as given, and of the same with their candidates exchanged.

    Answers of the second list number the candidates as exchanged: 1 is candidate 2 of `examples`.

    vote_stop: leave out samples that can no longer change a majority.
    """
    every = [*examples, *(e.swapped() for e in examples)]
    stop_group = voting.Decided(every, grammar=grammar, n=n, swapped=True) if vote_stop else None
    judged = self.judge(
      every,
      grammar=grammar,
      n=n,
      sampling=sampling,
      seed=seed,
      progress=progress,
      stop_group=stop_group,
      read=read,
    )
    return judged[: len(examples)], judged[len(examples) :]

  def verdicts(
    self,
    examples: Sequence[Example],
    *,
    both_orders: bool,
    grammar: str,
    n: int,
    sampling: Sampling,
    seed: int,
    vote_stop: bool = False,
    read: Read = "text",
  ) -> list[tuple[Sequence[Verdict], Sequence[Verdict] | None]]:
    """The verdicts of `judge` about each pair: as given, and exchanged (None: not asked).

    both_orders: ask with exchanged candidates, too.
    vote_stop: leave out samples that can no longer change a majority.
    """
    if both_orders:
      both = self.judge_both_orders(
        examples,
        grammar=grammar,
        n=n,
        sampling=sampling,
        seed=seed,
        vote_stop=vote_stop,
        read=read,
      )
      return [(given.verdicts, swapped.verdicts) for given, swapped in zip(*both, strict=True)]
    stop_group = voting.Decided(examples, grammar=grammar, n=n) if vote_stop else None
    judged = self.judge(
      examples,
      grammar=grammar,
      n=n,
      sampling=sampling,
      seed=seed,
      stop_group=stop_group,
      read=read,
    )
    return [(one.verdicts, None) for one in judged]

  def encode(self, example: Example, *, grammar: str, read: Read = "text") -> Encoded:
    """The prompt of an example; of a direct read with the opening of the verdict.

    Raises:
      BadExample: the grammar cannot render the example, its media cannot be read, or its prompt
        fits no bucket, by its id.
    """
    words = prompts.get(grammar)
    encoded = self.processor(words.render(example), id=example.id)
    if read == "direct":
      encoded = encoded.extended(opening_tokens(self.processor, words, example.task))
    self.buckets.token_bucket(example.id, len(encoded.tokens))
    self.buckets.patch_bucket(example.id, len(encoded.patches))
    return encoded

  def judge_usable(
    self,
    examples: Sequence[Example],
    *,
    grammar: str,
    n: int,
    sampling: Sampling,
    seed: int,
    progress: Callable[[int], None] | None = None,
    read: Read = "text",
  ) -> list[Judgement | BadExample]:
    """`judge` of the examples that can be judged; the others have their error in their place."""
    out: dict[int, Judgement | BadExample] = {}
    usable, encoded = [], []
    for i, example in enumerate(examples):
      try:
        encoded.append(self.encode(example, grammar=grammar, read=read))
        usable.append(i)
      except BadExample as error:
        out[i] = error
    if usable:
      judged = self.judge(
        [examples[i] for i in usable],
        grammar=grammar,
        n=n,
        sampling=sampling,
        seed=seed,
        progress=progress,
        encoded=encoded,
        read=read,
      )
      out |= dict(zip(usable, judged, strict=True))
    if progress and len(usable) < len(examples):
      progress(len(examples) - len(usable))
    return [out[i] for i in range(len(examples))]

  def _next_label(self, completion: Completion, task: Task, grammar: Grammar) -> Completion:
    """The shortest answer with the likelier digit, by what the model said of its first token."""
    assert completion.label_logps is not None and completion.top_logps is not None
    at = int(completion.label_logps[0].argmax())
    return Completion(
      text=grammar.unreasoned(task, CHOICES[at]),
      tokens=np.array([self.label_ids[at]], np.int32),
      logps=completion.label_logps[0, at : at + 1],
      finish="stop",
      label_logps=completion.label_logps[:1],
      top_logps=completion.top_logps[:1],
    )

  def _judgement(
    self,
    example: Example,
    prompt: Encoded,
    group: Sequence[Completion],
    grammar: Grammar,
    read: Read,
  ) -> Judgement:
    verdicts = []
    for completion in group:
      verdict = grammar.parse(completion.text, example.task)
      if verdict.answer is not None:
        verdict = self._with_probabilities(completion, verdict, read)
      verdicts.append(verdict)
    return Judgement(example, prompt, tuple(group), tuple(verdicts))

  def _with_probabilities(
    self, completion: Completion, verdict: Verdict, read: Read = "text"
  ) -> Verdict:
    """The verdict with what the model said of LABELS at the token that holds the verdict's digit.

    `probability`, P(verdict.answer), is normalized over LABELS.
    """
    assert verdict.span is not None and completion.label_logps is not None
    t = 0  # of a direct read the digit is the only token
    if read == "text":
      t = text_stops.token_at(self.text, completion.tokens, verdict.span[0])
    first, second = map(float, completion.label_logps[t])
    top = None if completion.top_logps is None else float(completion.top_logps[t])
    return dataclasses.replace(
      verdict,
      probability=float(1 / (1 + np.exp((second - first) * (1 if verdict.answer == 1 else -1)))),
      label_mass=float(np.exp(first) + np.exp(second)),
      label_top=None if top is None else max(first, second) >= top - _ROUNDING,
    )


def opening_tokens(processor: models.Processor, grammar: Grammar, task: Task) -> list[int]:
  """The tokens that open a verdict without reasoning, up to its digit, for a direct read.

  Raises:
    ValueError: the tokenizer has no token for the digit alone there, or the chat template begins
      the answer with other text.
  """
  opening, prefix = prompts.opening(grammar, task), processor.answer_prefix.strip()
  if not opening.startswith(prefix):
    raise ValueError(
      f"a direct read opens an answer with {opening!r}, and the chat template of the model with "
      f"{prefix!r}: take the grammar that the model was trained with"
    )
  tokens = processor.encode_answer(opening)
  for label in LABELS:
    found, wanted = processor.encode_answer(opening + label), [*tokens, processor.encode(label)[-1]]
    if found != wanted:
      raise ValueError(
        f"a direct read needs {label!r} to be one token after {opening!r}; the tokenizer makes "
        f"{found} of both, and {wanted} of each alone"
      )
  return tokens
