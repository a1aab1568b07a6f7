"""Imports pairs of any published layout: checked, counted, in one data set that stages read fast.

R1-Reward's and UnifiedReward's own data, benchmarks, and files of one's own come in as they are
published; see data.datasets for the layouts.
"""

import dataclasses
import json
import os
from typing import Any

import jax
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

from cot_rm import media, metrics, prompts, stages
from cot_rm.checkpoints import huggingface
from cot_rm.data import datasets, import_checks, importing, selection
from cot_rm.stages import common, preflight_data
from cot_rm.stages import preflight as checking

RULES = ("check", "needs_gold", "references", "videos", "max_pixels", "quality")  # knobs


def run(config: common.Section, workdir: epath.Path, name: str) -> stages.Figures:
  """Writes workdir/<name>/data: splits "train" and "check" (validation pairs); returns figures.

  Examples that cannot be used are counted by source and reason and listed in skipped.jsonl. The
  same command continues an interrupted import.

  Raises:
    ValueError: a knob, or more bad examples than config.data.max_bad.
  """
  folder = workdir / name
  if jax.process_index() == 0 and not (folder / "data").exists():
    plan = make_plan(config, workdir, name)
    importing.run(
      plan,
      common.open_skips(config, workdir, name),
      _conditions(config, workdir, name),
      lambda total, done: metrics.bar(name, total, done=done),
    )
  multihost_utils.sync_global_devices(name)  # process 0 alone reads and writes
  figures = json.loads((folder / "figures.json").read_text())
  metrics.table(f"{name}: examples by source", table_columns(figures["sources"]))
  counts = figures["sources"].values()
  left_out = sum(of_source["read"] - of_source["kept"] for of_source in counts)
  return {
    **figures["splits"],
    "left_out": left_out,
    "GB": sum(of_source["bytes"] for of_source in counts) / 1e9,
  }


def preflight(config: common.Section, workdir: epath.Path, name: str) -> checking.Checks:
  """Checks the knobs, that the sources open, and the room on disk.

  The stage itself checks each example before it stores it.
  """
  section, checks = common.section_name(config, name, "importing"), checking.Checks(name)
  knobs, where = config[section], _flag(section)
  checking.check_grammar(checks, config)
  with checks.catching():
    _rules(config, knobs)
    planned = [
      checking.planned_data(checks, config, workdir, f"{where}.source", source)
      for source in _sources(knobs.source, where)
    ]
    if knobs.start:
      planned.append(
        not checking.find_model(checks, config, workdir, f"{where}.start", knobs.start)
      )
    if any(planned):
      return checks
    plan = make_plan(config, workdir, name)
    checks.require(
      plan.val < max(plan.total, 1),
      f"{where}.val is {plan.val:g}; it must be a share below 1, or fewer than the {plan.total:,} "
      f"examples",
    )
    checks.found["examples"] = f"{plan.total:,}"
    checking.check_disk(checks, workdir, importing.missing_bytes(plan), "the data set")
  return checks


def make_plan(config: common.Section, workdir: epath.Path, name: str) -> importing.Plan:
  """The import that the knobs describe. Raises ValueError or FileNotFoundError naming the fault."""
  section = common.section_name(config, name, "importing")
  knobs, processor, where = config[section], None, _flag(section)
  if knobs.start:
    model = huggingface.resolve(common.resolve_path(workdir, knobs.start), weights=False)
    processor = preflight_data.open_processor(
      str(model), config.processor.to_dict(), common.media_options(config)
    )
  else:
    logging.info("%s: lengths are not checked, as %s.start names no model", name, where)
  sources, excluded = [], _excluded(workdir, knobs.exclude, where)
  for source in _sources(knobs.source, where):
    examples = common.open_examples(config, workdir, source, knobs.split)
    bad, no_pairs = datasets.what_was_found(examples)
    if excluded:
      kept = selection.without(examples, excluded)
      no_pairs = {**no_pairs, f"in {where}.exclude": len(examples) - len(kept)}
      examples = kept
    sources.append(importing.Source(source, examples, bad, no_pairs))
  if not any(len(source.examples) for source in sources):
    raise ValueError(
      f"{where}.exclude, {knobs.exclude!r}, names every example of {knobs.source}: none is left"
    )
  return importing.Plan(
    folder=workdir / name,
    sources=sources,
    rules=_rules(config, knobs),
    grammar=prompts.get(config.grammar),
    processor=processor,
    val=knobs.val,
    seed=config.seed,
    threads=knobs.threads or os.cpu_count() or 1,
    shard_bytes=knobs.shard_mb << 20,
  )


def _excluded(workdir: epath.Path, path: str, where: str) -> set[str]:
  """The ids of the file that the knob `exclude` names, one a line. Raises ValueError naming it."""
  if not path:
    return set()
  file = epath.Path(common.resolve_path(workdir, path))
  if not file.is_file():
    raise ValueError(f"{where}.exclude is {path!r}: there is no such file of ids, one a line")
  return set(file.read_text().splitlines())


def _rules(config: common.Section, knobs: common.Section) -> import_checks.Rules:
  """What examples must be, by the section of the stage. Raises ValueError for a knob's value."""
  given, limits = {knob: knobs[knob] for knob in RULES}, config.processor
  given |= {knob: limits[knob] for knob in ("fps", "max_frames") if limits[knob] is not None}
  video = {knob: value for knob, value in limits.video.items() if value is not None}
  if knobs.start:
    largest = {knob: max(config.buckets[knob], default=0) for knob in ("tokens", "patches")}
    given |= {f"max_{knob}": size for knob, size in largest.items()}
  shown = media.VideoRules(**video)
  try:
    return import_checks.Rules(**given, video=shown, options=common.media_options(config))
  except ValueError as error:
    raise ValueError(f"config.import: {error}") from error


def table_columns(sources: dict[str, dict[str, int]]) -> dict[str, dict[str, Any]]:
  """{source: its figures for a table}, and all together where there are several."""
  columns = {}
  for name, counts in sources.items():
    columns[name] = {
      "read": counts["read"],
      "kept": counts["kept"],
      **({"of these renamed": counts["renamed"]} if counts.get("renamed") else {}),
      **{f"left out: {r}": counts[r] for r in import_checks.REASONS if counts.get(r)},
      **{name: count for name, count in counts.items() if name.startswith(importing.NO_PAIR)},
      "MB": counts["bytes"] / 1e6,
    }
  if len(sources) > 1:
    rows = dict.fromkeys(row for column in columns.values() for row in column)
    total = {row: sum(column.get(row, 0) for column in columns.values()) for row in rows}
    columns["all"] = total
  return columns


def _flag(section: str) -> str:
  """The section of a knob as the command line has it."""
  return "config.import" if section == "importing" else f"config.{section}"


def _sources(text: str, where: str) -> list[str]:
  names = [name.strip() for name in text.split(",") if name.strip()]
  if not names:
    raise ValueError(
      f"{where}.source is empty; it names the data: a path, or layout:path, or several "
      f"separated by commas"
    )
  if repeated := {name for name in names if names.count(name) > 1}:
    raise ValueError(f"{where}.source names {', '.join(sorted(repeated))} twice")
  return names


def _conditions(config: common.Section, workdir: epath.Path, name: str) -> dict[str, Any]:
  """Everything that the data set depends on, serializable as JSON."""
  knobs = common.section(config, name, "importing")
  paths = [common.resolve_data(workdir, s) for s in _sources(knobs.source, _flag(name))]
  return {
    "knobs": {k: v for k, v in knobs.to_dict().items() if k not in ("shard_mb", "threads")},
    "excluded": sorted(_excluded(workdir, knobs.exclude, _flag(name))),
    "files": [importing.stamp(datasets.path_of(path)) for path in paths],
    "pairs": [config.data.ties, config.data.pairs],
    "grammar": config.grammar,
    "seed": config.seed,
    "processor": config.processor.to_dict(),
    "media": dataclasses.asdict(common.media_options(config)),
    "buckets": config.buckets.to_dict(),
  }
