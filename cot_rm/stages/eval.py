"""Scores models on held-out pairs or a public benchmark, and writes the summary and the report."""

import functools
import itertools
import json
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath

from cot_rm import benchmarks, files, metrics, prompts, registry, report, stages
from cot_rm.benchmarks import baselines, pairs, published_results
from cot_rm.data import selection
from cot_rm.report import tables
from cot_rm.stages import (
  benchmark_pairs,
  common,
  comparing,
  contaminated,
  evaluation,
  preflight_examples,
  preflight_memory,
  scored_models,
)
from cot_rm.stages import preflight as checking


def run(config: common.Section, workdir: epath.Path, name: str) -> stages.Figures:
  """Writes summary.json, {"stages": {model: figures}}, of the models of the knob `models`.

  Answers are in workdir/<name>/<model>/: judgements.jsonl, greedy; votes.jsonl, the samples that
  vote; blank.jsonl, answers to blank pictures. Each line is an answer, by (row, order, sample), and
  is written as soon as it comes: an interrupted run asks only for missing answers, and figures are
  computed from the files alone. A stage of the plan that left no model is skipped. The direct reads
  of a model (the knob `read`) have the name <model>--direct, and a folder of their own.

  With the knob `compare` no model is asked: the answers of two are compared; see `comparing.run`.

  Raises:
    ValueError: an unknown benchmark, mode, grammar or model name, before a model is loaded.
  """
  section, folder = common.section_name(config, name, "eval"), workdir / name
  knobs = config[section]
  prompts.get(config.grammar)
  benchmark = benchmarks.get(knobs.benchmark)
  registry.lookup(benchmark.MODES, knobs.mode, f"config.{section}.mode")
  models = [] if knobs.compare else scored_models.there(config, workdir, section)
  reads = scored_models.reads(knobs, section)
  skips, summary = common.open_skips(config, workdir, name), {}
  opened = benchmark_pairs.open_pairs(config, workdir, knobs, section)
  examples = benchmark_pairs.usable(
    common.count_bad_records(opened, skips), benchmark.MODES[knobs.mode], skips
  )
  if knobs.compare:
    comparing.run(config, knobs, workdir, name, benchmark=benchmark, examples=examples)
    return False
  unread = len(skips)  # later it has the pairs that a model could not be asked about, too
  seen: set[str] = set()
  if knobs.contamination:
    seen = contaminated.run(config, knobs, workdir, name, examples=examples)
  for model, read in itertools.product(models, reads):
    label = model.strip("/").replace("/", "--") + ("" if read == "text" else f"--{read}")
    place = folder / label
    one = evaluation.Evaluation(
      config, knobs, workdir, model, place, skips=skips, unread=unread, read=read
    )
    summary[label] = one.figures(benchmark, examples, seen)
    training = workdir / model / "training.json"
    if training.exists():
      summary[label] |= json.loads(training.read_text())
  short = tables.short_names(summary)
  metrics.table(
    f"{knobs.benchmark}, {knobs.mode}", {short[label]: _columns(f) for label, f in summary.items()}
  )
  if jax.process_index() == 0:
    plain = _baselines(benchmark, examples, knobs)
    content = {"stages": summary} | ({"baselines": plain} if plain else {})
    files.write_atomic(workdir / "summary.json", json.dumps(content, indent=2))
    published = published_results.of(knobs.benchmark)
    report.write(
      workdir,
      summary,
      baselines=plain,
      asked=benchmark_pairs.how_asked(knobs, benchmark.MODES[knobs.mode]),
      published=published or ((), ()),
    )
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
  benchmark, folders, reads = pairs, [], ()
  with checks.catching():
    reads = scored_models.reads(knobs, section)
  with checks.catching():
    benchmark = benchmarks.get(knobs.benchmark)
    registry.lookup(benchmark.MODES, knobs.mode, f"{where}.mode")
  with checks.catching():
    if knobs.compare:
      comparing.folders(workdir, name, knobs.compare)
    else:
      folders = scored_models.folders(checks, config, workdir, section)
  checks.require(
    not knobs.votes or any(k <= knobs.votes for k in knobs.vote_at),
    f"{where}.votes is {knobs.votes}, and {where}.vote_at, {tuple(knobs.vote_at)}, has no number "
    f"up to it: no figure would be reported; add one",
  )
  for data in contaminated.sources(knobs.contamination):
    with checks.catching():
      if not checking.planned_data(checks, config, workdir, f"{where}.contamination", data):
        common.open_examples(config, workdir, data, knobs.contamination_split)
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
    for folder in dict.fromkeys(folders) or [None]:
      openings = scored_models.openings(config, folder) if folder and "direct" in reads else None
      preflight_examples.check(
        checks,
        config,
        workdir,
        examples,
        name=f"{knobs.data} {knobs.split if benchmark is pairs else knobs.benchmark}",
        folder=folder,
        rules=[
          preflight_examples.needs_gold_or_tie,
          preflight_examples.fits(common.buckets(config), openings=openings),
        ],
        swapped=True,
      )
  return checks


def _baselines(
  benchmark: benchmarks.Benchmark, examples: selection.Subset, knobs: common.Section
) -> dict[str, dict[str, Any]]:
  """The figures of judges without a model; none if the knob says so."""
  if not knobs.baselines:
    return {}
  score = functools.partial(benchmark.score, mode=knobs.mode)
  return baselines.figures(examples, benchmark.MODES[knobs.mode], score)


def _columns(figures: Mapping[str, Any]) -> dict[str, Any]:
  """A model's figures for a table: numbers, accuracy by family, and the gain of voting."""
  out = {n: v for n, v in figures.items() if isinstance(v, int | float) or n == "families"}
  if voted := figures.get("voting"):
    out |= {f"voting@{k}": value for k, value in zip(voted["at"], voted["vote"], strict=True)}
    out |= {f"any@{k}": value for k, value in zip(voted["at"], voted["any"], strict=True)}
  return out
