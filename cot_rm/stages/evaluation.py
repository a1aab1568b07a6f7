"""The evaluation of one model: its answers, asked where they are missing, and its figures."""

import functools
import itertools
import types
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax
from absl import logging
from etils import epath

import cot_rm.judge  # by its full name: a stage of this package is called judge too
from cot_rm import media, metrics, prompts, schema
from cot_rm import voting as pair_votes  # the benchmarks have a `voting`, too
from cot_rm.benchmarks import calibration, definitions, pairs, rules, voting
from cot_rm.data import answer_log, bad_examples, sample_records, selection
from cot_rm.rewards import accuracy, consistency
from cot_rm.rewards import format as form
from cot_rm.sampler import sampling
from cot_rm.stages import card, common
from cot_rm.toy_world import descriptions, world

BATCHES = 8  # calls of the sampler between two writes: at most these are lost by a kill
ANSWERS = ("judgements", "votes", "blank")

Judged = Sequence[answer_log.LoggedJudgement | None]  # per example; None: not asked in this order


class Answered(NamedTuple):
  """The examples that can be judged, with the answers to them."""

  examples: selection.Subset
  orders: list[Sequence[int]]  # in which each is asked
  given: Judged
  swapped: Judged


class Evaluation:
  """The evaluation of one model. Its weights are loaded when the first answer is missing.

  Args:
    config, knobs: the config, and its section of the stage.
    workdir: the run's folder.
    model: as the knob `models` names it.
    folder: of its answers.
    skips: counts pairs that cannot be judged.
    unread: pairs that could not be read, and are none of the examples.
    read: how verdicts are read, see judge.Read.
  """

  def __init__(
    self,
    config: common.Section,
    knobs: common.Section,
    workdir: epath.Path,
    model: str,
    folder: epath.Path,
    *,
    skips: bad_examples.Skips,
    unread: int = 0,
    read: cot_rm.judge.Read = "text",
  ):
    self._read, self._unread = read, unread
    self._config, self._knobs, self._folder, self._skips = config, knobs, folder, skips
    self._grammar = prompts.get(config.grammar)
    path = common.resolve_path(workdir, model)
    self._conditions = _conditions(config, knobs, path, read)
    answers = [f"{file}.jsonl" for file in ANSWERS]
    common.begin_answers(
      folder,
      self._conditions,
      answers,
      bounds=common.bounds(config),
      legacy={"model": path},
    )
    self._judge = functools.cache(
      functools.partial(
        common.load_judge,
        config,
        workdir,
        model,
        max_prompts=knobs.max_prompts,
        rules="sample_rules",
      )
    )

  def figures(
    self, benchmark: types.ModuleType, examples: selection.Subset, seen: Collection[str] = ()
  ) -> dict[str, Any]:
    """Computes the figures of the model, and writes the samples for the report.

    seen: ids of examples that are in the training data: the others have an accuracy of their own.
    """
    knobs, rule = self._knobs, benchmark.MODES[self._knobs.mode]
    options = common.media_options(self._config)
    greedy = _sampling(knobs, 0.0)
    asked = rule.asked(examples)
    usable, orders, given, swapped = self._answers("judgements", examples, asked, n=1, how=greedy)
    decided = pairs.decided(given, swapped)
    of_texts: dict[str, Any] = {}  # a direct read has no description and no reasoning
    if self._read == "text":
      contradicts = functools.partial(consistency.contradicts, grammar=self._grammar)
      of_texts = {"fidelity": descriptions.fidelity, "contradicts": contradicts}
    figures = benchmark.score(given, swapped, mode=knobs.mode, **of_texts)
    if seen:
      figures |= clean(figures, given, swapped, seen, rule)
    if failed := self._unread + sum(map(bool, asked)) - len(usable):
      figures["not_judged"] = failed
      figures["definitions"] |= definitions.describe({"not_judged": failed}, rule.description)
    sides = [[side[i] for i in decided] for side in (given, swapped)]
    forecasts = {
      "pairs": calibration.of_pairs(*sides, rule, pair_votes.combine),
      "verdicts": calibration.of_verdicts(*sides, rule),
    }
    if knobs.votes and self._read == "text":  # direct reads of a pair would all be the same
      some = decided[: knobs.vote_pairs or None]
      voted = self._add_votes(figures, usable.take(some), [orders[i] for i in some], rule)
      forecasts["voted_pairs"] = calibration.of_pairs(*voted, rule, pair_votes.combine)
    figures["calibration"], words = calibration.figures(forecasts, rule.description)
    figures["definitions"] |= words
    if knobs.blank_pairs:
      self._add_blank(figures, usable.take(decided[: knobs.blank_pairs]), options)
    if jax.process_index() == 0:
      counts = card.Counts(len(usable), failed)
      card.write(self._folder, self._conditions, knobs, rule, counts)
    with metrics.Writer(self._folder) as writer:
      chosen = _select_samples([*given, *swapped], examples, knobs, self._grammar, options)
      writer.write_samples(0, chosen)
    logging.info("%s: %s", self._folder.name, pairs.summary_line(figures))
    return figures

  def _add_votes(
    self,
    figures: dict[str, Any],
    examples: selection.Subset,
    orders: Sequence[Sequence[int]],
    rule: rules.Rule,
  ) -> tuple[Judged, Judged]:
    """Adds the figures of voting, and returns the answers, as given and exchanged."""
    knobs = self._knobs
    warm = _sampling(knobs, knobs.vote_temperature)
    voted = self._answers("votes", examples, orders, n=knobs.votes, how=warm)
    at = [k for k in knobs.vote_at if k <= knobs.votes]
    figures["voting"] = voting.score(voted.given, voted.swapped, rule, at=at)
    figures["voting"]["temperature"] = knobs.vote_temperature
    figures["definitions"] |= figures["voting"].pop("definitions")
    return voted.given, voted.swapped

  def _add_blank(
    self, figures: dict[str, Any], examples: selection.Subset, options: media.Options
  ) -> None:
    """Adds the accuracy with blank pictures: chance, of a judge that uses the pictures."""
    blanked = self._blanked(examples, options)
    greedy = _sampling(self._knobs, 0.0)
    answered = self._answers("blank", blanked, rules.both(blanked), n=1, how=greedy)
    blind = pairs.score(answered.given, answered.swapped)
    for figure in sorted({"accuracy", "accuracy_parsed"} & blind.keys()):
      figures[f"blank_{figure}"] = blind[figure]
      n = {f"blank_{figure}": blind["definitions"][figure]["n"]}
      figures["definitions"] |= definitions.describe(n, rules.Rule().description)

  def _answers(
    self,
    file: str,
    examples: selection.Subset,
    orders: Sequence[Sequence[int]],
    *,
    n: int,
    how: sampling.Sampling,
  ) -> Answered:
    """n answers to each example in its orders, from <file>.jsonl or else from the model."""
    config, title = self._config, f"{self._folder.name} {file}"

    def ask(batch, progress):
      return self._judge().judge_usable(
        batch,
        grammar=config.grammar,
        n=n,
        sampling=how,
        seed=config.seed,
        progress=progress,
        read=self._read,
      )

    given, swapped = answer_log.complete(
      self._folder / f"{file}.jsonl",
      examples,
      orders,
      ask,
      n=n,
      step=BATCHES * self._knobs.max_prompts,
      bar=lambda total, done: metrics.bar(title, total, done=done),
      left_out=self._skips.add,
    )
    both = zip(given, swapped, strict=True)
    judged = [one is not None or other is not None for one, other in both]
    if not any(judged):
      raise ValueError(f"{title}: no pair can be judged; see {self._skips.path}")
    found = examples.take(itertools.compress(range(len(examples)), judged))
    return Answered(found, *([*itertools.compress(x, judged)] for x in (orders, given, swapped)))

  def _blanked(
    self, examples: Sequence[schema.Example], options: media.Options
  ) -> selection.Subset:
    """The examples with blank pictures; those whose pictures have vanished are left out."""
    out = []
    for example in examples:
      try:
        out.append(world.blank(example, options=options))
      except schema.BadExample as error:
        self._skips.add(example.id, error)
    return selection.Subset(out, tuple(range(len(out))))


def clean(
  figures: dict[str, Any], given: Judged, swapped: Judged, seen: Collection[str], rule: rules.Rule
) -> dict[str, Any]:
  """The figures about the pairs that are not in the training data, if there are any."""
  kept = [
    (one, other)
    for one, other in zip(given, swapped, strict=True)
    if (one or other).example.id not in seen
  ]
  if not (decided := pairs.decided(*zip(*kept, strict=True)) if kept else []):
    return {}
  clean = pairs.tally(*zip(*[kept[i] for i in decided], strict=True), rule)
  bounds = clean["intervals"].get("accuracy")  # None: the rule's reading counts no answer
  counts = {"accuracy_clean": clean["definitions"]["accuracy"]["n"]}
  return {
    "accuracy_clean": clean["accuracy"],
    "intervals": figures["intervals"] | ({"accuracy_clean": bounds} if bounds else {}),
    "definitions": figures["definitions"] | definitions.describe(counts, rule.description),
  }


def _conditions(config, knobs, path: str, read: cot_rm.judge.Read) -> dict[str, Any]:
  """Everything that an answer depends on, serializable as JSON; see common.begin_answers."""
  return {
    **common.conditions(config, path),
    "data": [knobs.benchmark, knobs.data, knobs.split],
    "sampling": [knobs.max_tokens, knobs.vote_temperature],
    "repetition_penalty": knobs.repetition_penalty,
    "read": read,
  }


def _sampling(knobs: common.Section, temperature: float) -> sampling.Sampling:
  return sampling.Sampling(
    temperature=temperature,
    max_tokens=knobs.max_tokens,
    repetition_penalty=knobs.repetition_penalty,
  )


def _select_samples(
  judgements: Judged, examples: Sequence[schema.Example], knobs, grammar, options: media.Options
) -> list[dict[str, Any]]:
  """Records for the report: first judgements, most confident right and most confident wrong ones.

  Args:
    judgements: greedy ones, in both orders.
    examples: to which the rows of the judgements belong.
    knobs: `samples`, `best` and `worst` are the numbers of the three kinds.
    grammar: a module of cot_rm.prompts.
    options: how media are opened.
  """
  judged = [j for j in judgements if j is not None and j.example.gold is not None]
  chosen = [("sample", j) for j in judged[: knobs.samples]]
  seen = {j.example.id for _, j in chosen}
  parsed = [j for j in judged if j.verdicts[0].answer is not None]
  parsed.sort(key=lambda j: -j.verdicts[0].probability)
  left = {"best": knobs.best, "worst": knobs.worst}
  for j in parsed:
    kind = "best" if j.verdicts[0].answer == j.example.gold else "worst"
    if left[kind] and j.example.id not in seen:  # a pair is shown in one order only
      left[kind] -= 1
      seen.add(j.example.id)
      chosen.append((kind, j))

  def record(j):
    completion, verdict = j.completions[0], j.verdicts[0]
    shown = examples[j.row].swapped() if j.order else examples[j.row]
    rewards = {
      "accuracy": accuracy.reward(completion, verdict, shown, grammar),
      "format": form.reward(completion, verdict, shown, grammar),
    }
    return sample_records.to_record(shown, completion, verdict, rewards, options=options)

  return [record(j) | {"kind": kind} for kind, j in chosen]
