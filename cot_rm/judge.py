"""A judge: a policy that compares preference pairs; the public face of the package."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, get_args, overload

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from cot_rm import media, models, prompts, registry, sharding, voting
from cot_rm.batch import Encoded
from cot_rm.checkpoints import model_folder
from cot_rm.data import packing
from cot_rm.policy import BUCKETS, ModelSpec, Policy
from cot_rm.prompts import Grammar
from cot_rm.sampler import text_stops
from cot_rm.sampler.limits import Limits
from cot_rm.sampler.sampling import Sampling
from cot_rm.schema import BadExample, Completion, Example, PairVerdict, Verdict

Dtype = Literal["float32", "bfloat16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)


@dataclasses.dataclass(frozen=True)
class Judgement:
  """The sampled completions of one example in one order, each with its verdict."""

  example: Example
  prompt: Encoded
  completions: tuple[Completion, ...]
  verdicts: tuple[Verdict, ...]  # one per completion, in order


class Judge(Policy):
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

    Returns:
      One Judgement per example.

    Raises:
      ValueError: an example that the grammar, its media or the buckets do not allow, by its id.
    """
    words = prompts.get(grammar)
    if encoded is None:
      encoded = [self.encode(e, grammar=grammar) for e in examples]
    groups = self.sample(
      encoded, n=n, sampling=sampling, seed=seed, progress=progress, stop_group=stop_group
    )
    return [
      self._judgement(e, prompt, group, words)
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
    )
    return judged[: len(examples)], judged[len(examples) :]

  def encode(self, example: Example, *, grammar: str) -> Encoded:
    """The prompt of an example.

    Raises:
      BadExample: the grammar cannot render the example, its media cannot be read, or its prompt
        fits no bucket, by its id.
    """
    encoded = self.processor(prompts.get(grammar).render(example), id=example.id)
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
  ) -> list[Judgement | BadExample]:
    """`judge` of the examples that can be judged; the others have their error in their place."""
    out: dict[int, Judgement | BadExample] = {}
    usable, encoded = [], []
    for i, example in enumerate(examples):
      try:
        encoded.append(self.encode(example, grammar=grammar))
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
      )
      out |= dict(zip(usable, judged, strict=True))
    if progress and len(usable) < len(examples):
      progress(len(examples) - len(usable))
    return [out[i] for i in range(len(examples))]

  def _judgement(
    self, example: Example, prompt: Encoded, group: Sequence[Completion], grammar: Grammar
  ) -> Judgement:
    verdicts = []
    for completion in group:
      verdict = grammar.parse(completion.text, example.task)
      if verdict.answer is not None:
        verdict = dataclasses.replace(verdict, probability=self._probability(completion, verdict))
      verdicts.append(verdict)
    return Judgement(example, prompt, tuple(group), tuple(verdicts))

  def _probability(self, completion: Completion, verdict: Verdict) -> float:
    """P(verdict.answer) at the token that holds the verdict's digit, normalized over LABELS."""
    assert verdict.span is not None and completion.label_logps is not None
    t = text_stops.token_at(self.text, completion.tokens, verdict.span[0])
    first, second = completion.label_logps[t]
    return float(1 / (1 + np.exp((second - first) * (1 if verdict.answer == 1 else -1))))


def load(
  path: str | os.PathLike[str],
  *,
  base: str | os.PathLike[str] = "",
  dtype: Dtype = "float32",
  compute_dtype: Dtype | None = None,
  min_pixels: int | None = None,
  max_pixels: int | None = None,
  fps: float | None = None,
  max_frames: int | None = None,
  mrope: Literal["hf4_49", "hf4", "hf5"] | None = None,
  video: Mapping[str, object] | None = None,
  options: media.Options = media.DEFAULT,
  control_tokens: Literal["refuse", "text"] = "refuse",
  buckets: packing.Buckets = BUCKETS,
  max_prompts: int = 8,
  sampler: Limits | None = None,
  mesh: Mesh | None = None,
  rules: sharding.Rules | None = None,
  sample_mesh: Mesh | None = None,
  sample_rules: sharding.Rules | None = None,
  remat: bool = False,
) -> Judge:
  """Opens a judge.

      judge = cot_rm.load("Qwen/Qwen2.5-VL-3B-Instruct", dtype="bfloat16")

  Args:
    path: a Hugging Face folder, a hub id, a model folder that a stage wrote, or a folder with a
      LoRA adapter as PEFT writes it, which is merged into its base.
    base: of an adapter, a Hugging Face folder or a hub id; "": as its adapter_config.json says.
    dtype, compute_dtype: of the parameters, and of products and activations; None: the same.
    min_pixels, max_pixels: area of an image or frame after resizing. None, here and for the next
      four: as the folder says.
    fps, max_frames: frames of a video that are read per second, and at most.
    mrope: positions of videos as transformers 4.49 ("hf4_49"), 4.52 ("hf4") or 5 ("hf5") has them.
    video: fields of media.VideoRules: which frames of a video, and bounds of their size.
    options: how media are opened: whether URLs are fetched, EXIF, transparency, 16 bits.
    control_tokens: "refuse" texts with control tokens (<|im_end|>), or read these as plain "text".
    buckets: the shapes to which prompts are padded; the largest one bounds a prompt.
    max_prompts: prompts that are answered at the same time, at most; fewer need less memory.
    sampler: limits of the sampler: chunks, KV-cache memory, format of its weights; None: defaults.
    mesh, rules: of the parameters: devices, {logical axis: mesh axes}; None: the first device.
    sample_mesh, sample_rules: of the sampler's arrays; None: as `mesh` and `rules`.
    remat: a train step recomputes activations in its backward pass instead of storing them.

  Raises:
    FileNotFoundError: no such folder, or a file of it is missing.
    ValueError: an unknown dtype, or tensors or a tokenizer that do not fit config.json: all named.
  """
  _check_dtypes(dtype=dtype, compute_dtype=compute_dtype or dtype)
  mesh = mesh or sharding.make_mesh({"data": 1}, jax.devices()[:1])
  rules = rules or {}
  opened = model_folder.open_model(path, base=base, mesh=mesh, rules=rules, dtype=dtype)
  family, limits, compute = models.get(opened.family), sampler or Limits(), compute_dtype or dtype
  sample_compute = "bfloat16" if limits.weights == "bfloat16" else compute
  return Judge(
    opened,
    family.Processor.load(
      opened.folder,
      min_pixels=min_pixels,
      max_pixels=max_pixels,
      fps=fps,
      max_frames=max_frames,
      mrope=mrope,
      video=video,
      options=options,
      control_tokens=control_tokens,
    ),
    train=ModelSpec(_graphdef(opened, compute, remat), compute, mesh, rules),
    sample=ModelSpec(
      _graphdef(opened, sample_compute, remat),
      sample_compute,
      mesh if sample_mesh is None else sample_mesh,
      rules if sample_rules is None else sample_rules,
    ),
    buckets=buckets,
    max_prompts=max_prompts,
    limits=limits,
  )


def _graphdef(opened: model_folder.OpenedModel, compute_dtype: str, remat: bool) -> nnx.GraphDef:
  """The graph of the opened model's family and sizes."""
  family = models.get(opened.family)

  def make() -> models.Model:
    return family.Model(opened.config, rngs=nnx.Rngs(0), dtype=compute_dtype, remat=remat)

  return nnx.split(nnx.eval_shape(make))[0]


def _check_dtypes(**given: str) -> None:
  for name, value in given.items():
    if value not in DTYPES:
      raise ValueError(f"{name} is {value!r}; {registry.hint(value, DTYPES)}")
