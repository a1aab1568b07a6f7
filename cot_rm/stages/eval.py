"""Scores models on held-out pairs or a public benchmark, and writes the summary and the report."""

import functools
import itertools
import json
import pathlib
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from absl import logging
from etils import epath

from cot_rm import benchmarks, files, media, metrics, prompts, registry, report, schema, stages
from cot_rm import voting as pair_votes  # the benchmarks have a `voting`, too
from cot_rm import workdir as run_folder  # `workdir` is an argument here
from cot_rm.benchmarks import (
  baselines,
  calibration,
  definitions,
  pairs,
  published_results,
  rules,
  voting,
)
from cot_rm.data import answer_log, sample_records, selection
from cot_rm.rewards import accuracy, consistency
from cot_rm.rewards import format as form
from cot_rm.sampler import sampling
from cot_rm.stages import (
  benchmark_pairs,
  common,
  comparing,
  contaminated,
  preflight_examples,
  preflight_memory,
)
from cot_rm.stages import preflight as checking
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


def run(config: common.Section, workdir: epath.Path, name: str) -> stages.Figures:
  """Writes summary.json, {"stages": {model: figures}}, of the models of the knob `models`.

  Answers are in workdir/<name>/<model>/: judgements.jsonl, greedy; votes.jsonl, the samples that
  vote; blank.jsonl, answers to blank pictures. Each line is an answer, by (row, order, sample), and
  is written as soon as it comes: an interrupted run asks only for missing answers, and figures are
  computed from the files alone. A stage of the plan that left no model is skipped.

  With the knob `compare` no model is asked: the answers of two are compared; see `comparing.run`.

  Raises:
    ValueError: an unknown benchmark, mode, grammar or model name, before a model is loaded.
  """
  section, folder = common.section_name(config, name, "eval"), workdir / name
  knobs = config[section]
  prompts.get(config.grammar)
  benchmark = benchmarks.get(knobs.benchmark)
  registry.lookup(benchmark.MODES, knobs.mode, f"config.{section}.mode")
  models = [] if knobs.compare else _models(config, workdir, section)
  skips, summary = common.open_skips(config, workdir, name), {}
  opened = benchmark_pairs.open_pairs(config, workdir, knobs, section)
  examples = benchmark_pairs.usable(
    common.count_bad_records(opened, skips), benchmark.MODES[knobs.mode], skips
  )
  if knobs.compare:
    comparing.run(config, knobs, workdir, name, benchmark=benchmark, examples=examples)
    return False
  seen: set[str] = set()
  if knobs.contamination:
    seen = contaminated.run(config, knobs, workdir, name, examples=examples)
  for model in models:
    label = model.strip("/").replace("/", "--")
    evaluation = _Evaluation(config, knobs, workdir, model, folder / label, skips=skips)
    summary[label] = evaluation.figures(benchmark, examples, seen)
    training = workdir / model / "training.json"
    if training.exists():
      summary[label] |= json.loads(training.read_text())
  metrics.table(
    f"{knobs.benchmark}, {knobs.mode}", {label: _columns(f) for label, f in summary.items()}
  )
  if jax.process_index() == 0:
    plain = _baselines(benchmark, examples, knobs)
    content = {"stages": summary} | ({"baselines": plain} if plain else {})
    files.write_atomic(workdir / "summary.json", json.dumps(content, indent=2))
    published = published_results.of(knobs.benchmark)
    report.write(workdir, summary, baselines=plain, published=published or ((), ()))
  return False  # a model that is trained later is scored by the same command


def preflight(config: common.Section, workdir: epath.Path, name: str) -> checking.Checks:
  """Checks the models, the pairs with their gold answers and lengths, and the sampling."""
  section, checks = common.section_name(config, name, "eval"), checking.Checks(name)
  knobs, where = config[section], f"config.{section}"
  checking.check_grammar(checks, config)
  checking.check_mesh(checks, config, rules="sample_rules")
  how = {
    "temperature": knobs.vote_temperature,
    "max_tokens": knobs.max_tokens,
    "repetition_penalty": knobs.repetition_penalty,
  }
  checking.check_sampling(
    checks, where, how, n=knobs.votes or 1, n_knob="votes", temperature="vote_temperature"
  )
  benchmark, folders = pairs, []
  with checks.catching():
    benchmark = benchmarks.get(knobs.benchmark)
    registry.lookup(benchmark.MODES, knobs.mode, f"{where}.mode")
  with checks.catching():
    if knobs.compare:
      comparing.folders(workdir, name, knobs.compare)
    else:
      folders = _folders(checks, config, workdir, section)
  checks.require(
    not knobs.votes or any(k <= knobs.votes for k in knobs.vote_at),
    f"{where}.votes is {knobs.votes}, and {where}.vote_at, {tuple(knobs.vote_at)}, has no number "
    f"up to it: no figure would be reported; add one",
  )
  for folder in dict.fromkeys(folders):
    preflight_memory.check(
      checks,
      config,
      folder,
      max_tokens=(f"{where}.max_tokens", knobs.max_tokens),
      prompts=(f"{where}.max_prompts", knobs.max_prompts),
      samples=(f"{where}.votes", knobs.votes or 1),
    )
  with checks.catching():
    if checking.planned_data(checks, config, workdir, f"{where}.data", knobs.data):
      return checks
    examples = benchmark_pairs.open_pairs(config, workdir, knobs, section)
    buckets = common.buckets(config)
    for folder in dict.fromkeys(folders) or [None]:
      preflight_examples.check(
        checks,
        config,
        workdir,
        examples,
        name=f"{knobs.data} {knobs.split if benchmark is pairs else knobs.benchmark}",
        folder=folder,
        rules=[preflight_examples.needs_gold_or_tie, preflight_examples.fits(buckets)],
        swapped=True,
      )
  return checks


def _folders(
  checks: checking.Checks, config: common.Section, workdir: epath.Path, section: str
) -> list[str]:
  """The folders with the processors of the models to score, as far as they are there."""
  found, planned = [], checking.planned(config, checks.name)
  for model, there in _named_models(config, workdir, section).items():
    if there or model in planned:
      with checks.catching():
        folder = checking.find_model(checks, config, workdir, f"config.{section}.models", model)
        found += [folder] if folder is not None else []
  return found


def _models(config: common.Section, workdir: epath.Path, section: str) -> list[str]:
  """The models to score: those of the knob `models` that exist.

  Raises:
    ValueError: a name that is no stage of this config and no folder.
  """
  found = []
  for model, there in _named_models(config, workdir, section).items():
    if there:
      found.append(model)
    else:
      logging.info("%s: there is no model of %r to score", section, model)
  for folder, stage in run_folder.entries(config.stages).items():
    if stage in ("sft", "rl") and folder not in found and (workdir / folder / "model").exists():
      logging.info("%s: the model of %r is not in config.%s.models", section, folder, section)
  return found


def _named_models(config: common.Section, workdir: epath.Path, section: str) -> dict[str, bool]:
  """{model of the knob `models`: whether it is there, or to be looked for by its path or id}.

  Raises:
    ValueError: a name that is no stage of this config and no folder.
  """
  trained = [name for name in config.keys() if "start" in getattr(config[name], "keys", list)()]
  planned = dict.fromkeys([*run_folder.entries(config.stages), *trained])
  out = {}
  for model in map(str.strip, config[section].models.split(",")):
    there = "/" in model or (workdir / model / "model").exists() or pathlib.Path(model).is_dir()
    if not there and model not in planned and not (workdir / model).exists():
      registry.lookup(planned, model, f"model in config.{section}.models")
    out[model] = there
  return out


def _baselines(
  benchmark: benchmarks.Benchmark, examples: selection.Subset, knobs: common.Section
) -> dict[str, dict[str, Any]]:
  """The figures of judges without a model; none if the knob says so."""
  if not knobs.baselines:
    return {}
  score = functools.partial(benchmark.score, mode=knobs.mode)
  return baselines.figures(examples, benchmark.MODES[knobs.mode], score)


class _Evaluation:
  """The evaluation of one model. Its weights are loaded when the first answer is missing.

  Args:
    config, knobs: the config, and its section of the stage.
    workdir: the run's folder.
    model: as the knob `models` names it.
    folder: of its answers.
    skips: counts pairs that cannot be judged.
  """

  def __init__(self, config, knobs, workdir, model, folder, *, skips):
    self._config, self._knobs, self._folder, self._skips = config, knobs, folder, skips
    self._grammar = prompts.get(config.grammar)
    path = common.resolve_path(workdir, model)
    answers = [f"{file}.jsonl" for file in ANSWERS]
    common.begin_answers(
      folder,
      _conditions(config, knobs, path),
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
    figures = benchmark.score(
      given,
      swapped,
      mode=knobs.mode,
      fidelity=descriptions.fidelity,
      contradicts=functools.partial(consistency.contradicts, grammar=self._grammar),
    )
    if seen:
      figures |= _clean(figures, given, swapped, seen, rule)
    if failed := sum(map(bool, asked)) - len(usable):
      figures["not_judged"] = failed
      figures["definitions"] |= definitions.describe({"not_judged": failed}, rule.description)
    sides = [[side[i] for i in decided] for side in (given, swapped)]
    forecasts = {
      "pairs": calibration.of_pairs(*sides, rule, pair_votes.combine),
      "verdicts": calibration.of_verdicts(*sides, rule),
    }
    if knobs.votes:
      some = decided[: knobs.vote_pairs or None]
      warm = _sampling(knobs, knobs.vote_temperature)
      voted = self._answers(
        "votes", usable.take(some), [orders[i] for i in some], n=knobs.votes, how=warm
      )[2:]
      at = [k for k in knobs.vote_at if k <= knobs.votes]
      figures["voting"] = voting.score(*voted, rule, at=at)
      figures["voting"]["temperature"] = knobs.vote_temperature
      figures["definitions"] |= figures["voting"].pop("definitions")
      forecasts["voted_pairs"] = calibration.of_pairs(*voted, rule, pair_votes.combine)
    figures["calibration"], words = calibration.figures(forecasts, rule.description)
    figures["definitions"] |= words
    if knobs.blank_pairs:
      # With blank pictures a judge that uses the pictures is no better than chance.
      blanked = self._blanked(usable.take(decided[: knobs.blank_pairs]), options)
      answered = self._answers("blank", blanked, rules.both(blanked), n=1, how=greedy)
      blind = pairs.score(*answered[2:])
      for figure in sorted({"accuracy", "accuracy_parsed"} & blind.keys()):
        figures[f"blank_{figure}"] = blind[figure]
        n = {f"blank_{figure}": blind["definitions"][figure]["n"]}
        figures["definitions"] |= definitions.describe(n, rules.Rule().description)
    with metrics.Writer(self._folder) as writer:
      chosen = _select_samples([*given, *swapped], examples, knobs, self._grammar, options)
      writer.write_samples(0, chosen)
    logging.info("%s: %s", self._folder.name, pairs.summary_line(figures))
    return figures

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
        batch, grammar=config.grammar, n=n, sampling=how, seed=config.seed, progress=progress
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


def _clean(
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
  counts = {"accuracy_clean": clean["definitions"]["accuracy"]["n"]}
  return {
    "accuracy_clean": clean["accuracy"],
    "intervals": figures["intervals"] | {"accuracy_clean": clean["intervals"]["accuracy"]},
    "definitions": figures["definitions"] | definitions.describe(counts, rule.description),
  }


def _conditions(config, knobs, path: str) -> dict[str, Any]:
  """Everything that an answer depends on, serializable as JSON; see common.begin_answers."""
  return {
    **common.conditions(config, path),
    "data": [knobs.benchmark, knobs.data, knobs.split],
    "sampling": [knobs.max_tokens, knobs.vote_temperature],
    "repetition_penalty": knobs.repetition_penalty,
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


def _columns(figures: Mapping[str, Any]) -> dict[str, Any]:
  """A model's figures for a table: numbers, accuracy by family, and the gain of voting."""
  out = {n: v for n, v in figures.items() if isinstance(v, int | float) or n == "families"}
  if voted := figures.get("voting"):
    out |= {f"voting@{k}": value for k, value in zip(voted["at"], voted["vote"], strict=True)}
    out |= {f"any@{k}": value for k, value in zip(voted["at"], voted["any"], strict=True)}
  return out
