"""Compares the answers of two evaluated models on the same pairs: a table, and a page of pairs."""

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from absl import logging
from etils import epath

from cot_rm import benchmarks, files, media, metrics, schema
from cot_rm.benchmarks import comparison, published_results, rules
from cot_rm.data import answer_log, sample_records
from cot_rm.report import comparison_page, tables
from cot_rm.stages import benchmark_pairs, common

LOG = "judgements.jsonl"  # the greedy answers of a model, in its folder of the stage eval


def folders(workdir: epath.Path, name: str, value: str) -> tuple[epath.Path, epath.Path]:
  """The two folders of answers that the knob `compare` names, separated by a comma.

  Each is a folder that eval wrote for a model, a model that this run has scored, or the workdir of
  a run that has scored one model.

  Raises:
    ValueError: not two names, or one that leads to no answers; names what there is.
  """
  parts = [part.strip() for part in value.split(",")]
  if len(parts) != 2 or not all(parts):
    raise ValueError(
      f"config.eval.compare is {value!r}; it must be two folders of answers, A,B: each a model "
      "that this run has scored, a folder <workdir>/eval/<model>, or the workdir of a run"
    )
  first, second = (_folder(workdir, name, part) for part in parts)
  return first, second


def _folder(workdir: epath.Path, name: str, part: str) -> epath.Path:
  here = workdir / name / part.strip("/").replace("/", "--")
  for folder in (here, epath.Path(part)):
    if (folder / LOG).exists():
      return folder
  scored = sorted(path.parent for path in pathlib.Path(part).glob(f"*/*/{LOG}"))
  if len(scored) == 1:
    return epath.Path(scored[0])
  known = scored or sorted(path.parent for path in pathlib.Path(workdir).glob(f"*/*/{LOG}"))
  raise ValueError(
    f"config.eval.compare: {part!r} is no folder of answers with a {LOG}; there are "
    f"{', '.join(map(str, known)) or 'none: score the models first'}"
  )


def run(
  config: common.Section,
  knobs: common.Section,
  workdir: epath.Path,
  name: str,
  *,
  benchmark: benchmarks.Benchmark,
  examples: Sequence[schema.Example],
) -> comparison.Compared:
  """Prints a table, and writes workdir/<name>/comparison.html and comparison.json.

  Args:
    config: the whole config.
    knobs: its section of the stage: `compare`, `compare_pairs`, `mode`, `benchmark`.
    workdir: the run's folder.
    name: the stage's folder in it.
    benchmark: which the pairs are from.
    examples: the pairs, with their gold answers.

  Raises:
    ValueError: see `folders`, and `comparison.compare`; or a folder without any answer to the pairs
      in the orders that the mode asks.
  """
  first, second = folders(workdir, name, knobs.compare)
  names = _names(first, second)
  rule = benchmark.MODES[knobs.mode]
  sides = [
    _asked(answer_log.logged(folder / LOG, examples), rule, examples) for folder in (first, second)
  ]
  for folder, label, (given, swapped) in zip((first, second), names, sides, strict=True):
    count = sum(
      one is not None or other is not None for one, other in zip(given, swapped, strict=True)
    )
    logging.info("%s: answers to %d of %d pairs", label, count, len(examples))
    if not count:
      raise ValueError(
        f"{folder / LOG} has no answer to any of the {len(examples):,} pairs in all orders that "
        f"the mode {knobs.mode!r} asks ({rule.description}): it is about other pairs, or was asked "
        f"in another mode (config.eval.mode)"
      )
  found = comparison.compare(*sides, rule)
  logging.info("%d pairs have answers of both", len(found.rows))
  conditions = _differing_conditions(first, second)
  for line in conditions:
    logging.warning("the answers were given under other settings: %s", line)
  shown = tables.short_names(names)
  first_name, second_name = shown[names[0]], shown[names[1]]
  _print(found.figures, (first_name, second_name))
  if jax.process_index() == 0:
    folder = workdir / name
    folder.mkdir(parents=True, exist_ok=True)
    content = {"names": names, "conditions": conditions, **found.figures}
    files.write_atomic(folder / "comparison.json", json.dumps(content, indent=2))
    options = common.media_options(config)
    path = comparison_page.write(
      folder / "comparison.html",
      found.figures,
      (first_name, second_name),
      differing=_differing(found, sides, examples, knobs.compare_pairs, options),
      asked=benchmark_pairs.how_asked(knobs, rule),
      conditions=conditions,
      published=published_results.of(knobs.benchmark) or ((), ()),
    )
    logging.info("see %s", path)
  return found.figures


def _asked(sides: Any, rule: rules.Rule, examples: Sequence[schema.Example]) -> comparison.Sides:
  """The judgements in the orders that the rule asks; a log may have others, of another mode."""
  given, swapped = sides
  orders = rule.orders(examples)
  keep = lambda side, order: [j if order in o else None for j, o in zip(side, orders, strict=True)]
  whole = [
    all((given, swapped)[order][row] is not None for order in of_row)
    for row, of_row in enumerate(orders)
  ]
  cut = lambda side: [j if w else None for j, w in zip(side, whole, strict=True)]
  return cut(keep(given, 0)), cut(keep(swapped, 1))


def _names(first: epath.Path, second: epath.Path) -> tuple[str, str]:
  """Names that tell the folders apart: of the models, or with as much of the path as is needed."""
  for depth in range(1, max(len(first.parts), len(second.parts)) + 1):
    one, two = ("/".join(folder.parts[-depth:]) for folder in (first, second))
    if one != two:
      return one, two
  return f"{first} (1)", f"{second} (2)"


def _differing_conditions(first: epath.Path, second: epath.Path) -> list[str]:
  """The settings under which the two models' answers were not given alike, in words."""
  one, two = (
    json.loads((folder / "asked.json").read_text()) if (folder / "asked.json").exists() else {}
    for folder in (first, second)
  )
  names = [name for name in {**one, **two} if name not in ("model", "files")]
  return [
    f"{name}: {json.dumps(one.get(name))} and {json.dumps(two.get(name))}"
    for name in names
    if one.get(name) != two.get(name)
  ]


def _print(figures: comparison.Compared, names: tuple[str, str]) -> None:
  rows = {"all": figures["overall"], **figures["families"]}
  columns: dict[str, dict[str, float]] = {
    names[0]: {row: share["first"] for row, share in rows.items()},
    names[1]: {row: share["second"] for row, share in rows.items()},
    "difference": {row: share["difference"] for row, share in rows.items()},
    "from": {row: share["interval"][0] for row, share in rows.items()},
    "to": {row: share["interval"][1] for row, share in rows.items()},
    "pairs": {row: share["n"] for row, share in rows.items()},
  }
  metrics.table("accuracy on the same pairs, 95 % interval of the difference", columns)


def _differing(
  found: comparison.Comparison,
  sides: Sequence[comparison.Sides],
  examples: Sequence[schema.Example],
  count: int,
  options: media.Options,
) -> list[comparison_page.Differing]:
  """The pairs to show: the largest differences, as many for either model; with their pictures."""
  pairs = [*zip(found.rows, found.gains, strict=True)]
  better = sorted((p for p in pairs if p[1] > 0), key=lambda p: -p[1])
  worse = sorted((p for p in pairs if p[1] < 0), key=lambda p: p[1])
  half = count // 2
  chosen = better[: max(half, count - len(worse))] + worse[: max(half, count - len(better))]
  return [_shown(sides, examples[row], row, gain, options) for row, gain in chosen[:count]]


def _shown(
  sides: Sequence[comparison.Sides],
  example: schema.Example,
  row: int,
  gain: float,
  options: media.Options,
) -> comparison_page.Differing:
  """The pair in the first order about which the two models' verdicts differ."""
  orders = [order for order in (0, 1) if sides[0][order][row] is not None]
  pick = lambda order: [side[order][row] for side in sides]
  answers = lambda order: {j.verdicts[0].answer for j in pick(order) if j is not None}
  order = next((o for o in orders if len(answers(o)) > 1), orders[0])
  shown = example.swapped() if order else example
  record = functools.partial(sample_records.to_record, shown, rewards={}, options=options)
  first, second = (
    record(completion=j.completions[0], verdict=j.verdicts[0]) for j in pick(order) if j is not None
  )
  words = "candidates exchanged" if order else "as given"
  return comparison_page.Differing(first, second, gain, words)
