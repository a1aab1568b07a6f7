"""Scores models on held-out pairs or a public benchmark, and writes the summary and the page."""

import functools
import json

import jax
from absl import logging

from cot_rm import benchmarks, files, metrics, prompts, registry, report
from cot_rm.benchmarks import definitions, pairs, rules, voting
from cot_rm.data import answer_log, datasets, sample_records
from cot_rm.rewards import accuracy, consistency
from cot_rm.rewards import format as form
from cot_rm.sampler import sampling
from cot_rm.stages import common
from cot_rm.toy_world import language, world

BATCHES = 8  # calls of the sampler between two writes: what a run that is killed asks again


def run(config, workdir, name):
  """summary.json: {"stages": {model: figures}}, of the models of config.eval.models that are there.

  Answers go to workdir/<name>/<model>/: judgements.jsonl, greedy; votes.jsonl, the samples that
  vote; blank.jsonl, to blank pictures. A line an answer, by (row, order, sample), written as they
  come: a run that was interrupted asks what is not there, and figures come from the files alone.
  """
  knobs, folder = config.eval, workdir / name
  prompts.get(config.grammar)  # here, and not after a model is loaded
  benchmark = benchmarks.get(knobs.benchmark)
  registry.lookup(benchmark.MODES, knobs.mode, "config.eval.mode")
  examples, summary = _examples(knobs, workdir, benchmark), {}
  for start in knobs.models.split(","):
    if "/" not in start and not (workdir / start / "model").exists():
      logging.info("%s: there is no model of %r to score", name, start)
      continue
    label = start.strip("/").replace("/", "--")
    summary[label] = _score(config, workdir, start, folder / label, benchmark, examples)
    training = workdir / start / "training.json"
    if training.exists():
      summary[label] |= json.loads(training.read_text())
  if jax.process_index() == 0:
    files.write_atomic(workdir / "summary.json", json.dumps({"stages": summary}, indent=2))
  metrics.table(
    f"{knobs.benchmark}, {knobs.mode}", {label: _shown(f) for label, f in summary.items()}
  )
  if jax.process_index() == 0:
    report.write(workdir, summary)
  return False  # a model that comes later is scored by the same command


def _examples(knobs, workdir, benchmark):
  where = common.resolve_path(workdir, knobs.data)
  if benchmark is pairs:
    return datasets.first(datasets.open(where, knobs.split), knobs.pairs)
  return benchmark.examples(where)


def _score(config, workdir, start, folder, benchmark, examples):
  """The figures of one model; its weights are loaded where there is something to ask."""
  knobs, where = config.eval, common.resolve_path(workdir, start)
  parts = ("judgements", "votes", "blank")
  common.begin_answers(folder, _asked(config, where), [f"{part}.jsonl" for part in parts])
  policy = functools.cache(
    lambda: common.load_judge(config, workdir, start, max_prompts=knobs.rows, rules="sample_rules")
  )

  def ask(part, some, orders, *, n, how):
    asked = lambda some, progress: policy().judge(
      some, grammar=config.grammar, n=n, how=how, seed=config.seed, progress=progress
    )
    bar = lambda total, done: metrics.bar(f"{folder.name} {part}", total, done=done)
    path, step = folder / f"{part}.jsonl", BATCHES * knobs.rows
    return answer_log.complete(path, some, orders, asked, n=n, step=step, bar=bar)

  rule = benchmark.MODES[knobs.mode]
  orders = rule.orders(examples)
  greedy = sampling.Sampling(max_tokens=knobs.max_tokens)
  given, swapped = ask("judgements", examples, orders, n=1, how=greedy)
  figures = benchmark.score(
    given,
    swapped,
    mode=knobs.mode,
    fidelity=language.fidelity,
    contradicts=functools.partial(consistency.contradicts, grammar=prompts.get(config.grammar)),
  )
  if knobs.votes:
    some = slice(knobs.vote_pairs or None)
    warm = sampling.Sampling(knobs.vote_temperature, max_tokens=knobs.max_tokens)
    voted = ask("votes", examples[some], orders[some], n=knobs.votes, how=warm)
    at = [k for k in knobs.vote_at if k <= knobs.votes]
    figures["voting"] = voting.score(*voted, rule, at=at)
    figures["voting"]["temperature"] = knobs.vote_temperature
    figures["definitions"] |= figures["voting"].pop("definitions")
  if knobs.blank_pairs:
    # A judge that looks cannot tell without the picture.
    blanked = [world.blank(e) for e in examples[: knobs.blank_pairs]]
    blind = pairs.score(*ask("blank", blanked, rules.both(blanked), n=1, how=greedy))
    for of in ("accuracy", "accuracy_parsed"):
      figures[f"blank_{of}"], n = blind[of], blind["definitions"][of]["n"]
      figures["definitions"] |= definitions.of({f"blank_{of}": n}, rules.Rule().said)
  with metrics.Writer(folder) as writer:
    writer.write_samples(0, _kept([*given, *swapped], knobs, prompts.get(config.grammar)))
  logging.info("%s: %s", folder.name, pairs.line(figures))
  return figures


def _asked(config, where):
  """What an answer hangs on, for JSON."""
  knobs = config.eval
  return {
    "model": common.model_identity(where),
    "grammar": config.grammar,
    "seed": config.seed,
    "dtype": config.model.dtype,
    "processor": config.processor.to_dict(),
    "data": [knobs.benchmark, knobs.data, knobs.split],
    "sampling": [knobs.max_tokens, knobs.vote_temperature],
  }


def _kept(judged, knobs, grammar):
  """Records for the page: the first judgements, the surest right ones and the surest wrong ones."""
  judged = [j for j in judged if j is not None]
  chosen = [("sample", j) for j in judged[: knobs.samples]]
  seen = {j.example.id for _, j in chosen}
  sure = [j for j in judged if j.verdicts[0].answer is not None]
  sure.sort(key=lambda j: -j.verdicts[0].probability)
  left = {"best": knobs.best, "worst": knobs.worst}
  for j in sure:
    kind = "best" if j.verdicts[0].answer == j.example.gold else "worst"
    if left[kind] and j.example.id not in seen:  # in one order is enough
      left[kind] -= 1
      seen.add(j.example.id)
      chosen.append((kind, j))

  def record(j):
    done, verdict = j.completions[0], j.verdicts[0]
    rewards = {"accuracy": accuracy.reward, "format": form.reward}
    earned = {name: reward(done, verdict, j.example, grammar) for name, reward in rewards.items()}
    return sample_records.to_record(j.example, done, verdict, earned)

  return [record(j) | {"kind": kind} for kind, j in chosen]


def _shown(figures):
  """A model's figures for a table: numbers, accuracy by family, and what a vote brings."""
  out = {n: v for n, v in figures.items() if isinstance(v, int | float) or n == "families"}
  if voted := figures.get("voting"):
    out |= {f"voting@{k}": value for k, value in zip(voted["at"], voted["vote"], strict=True)}
    out |= {f"any@{k}": value for k, value in zip(voted["at"], voted["any"], strict=True)}
  return out
