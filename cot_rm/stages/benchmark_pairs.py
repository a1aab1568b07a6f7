"""The pairs that models are scored on: of any data set, or of a public benchmark."""

import itertools
from collections.abc import Iterator, Sequence

from absl import logging
from etils import epath

from cot_rm import benchmarks, schema
from cot_rm.benchmarks import pairs, published, rules
from cot_rm.data import bad_examples, datasets, selection
from cot_rm.stages import common

LOOKED_AT = 20  # pairs whose groups are computed before anything is asked


def open_pairs(
  config: common.Section, workdir: epath.Path, knobs: common.Section, name: str
) -> Sequence[schema.Example]:
  """The pairs that the knobs `benchmark`, `data` and `split` name.

  Args:
    config: the whole config.
    workdir: the run's folder.
    knobs: of the stage.
    name: the stage's section, for errors.

  Raises:
    ValueError: see `benchmarks.get` and `datasets.open`.
    FileNotFoundError: the files are not there; says what has to be downloaded.
    bad_examples.TooManyBad: more records than config.data.max_bad are wrong.
  """
  benchmark = benchmarks.get(knobs.benchmark)
  if benchmark is pairs:
    source = common.open_examples(config, workdir, knobs.data, knobs.split)
    return selection.first(source, knobs.pairs)
  path = common.resolve_path(workdir, datasets.path_of(knobs.data))
  if knobs.benchmark in benchmarks.PUBLIC:
    return benchmarks.PUBLIC[knobs.benchmark].examples(path)
  return _by_layout(config, benchmarks.BY_LAYOUT[knobs.benchmark], path, f"config.{name}.data")


def how_asked(knobs: common.Section, rule: rules.Rule) -> str:
  """The benchmark, and how it is asked and scored, in words for a page."""
  return f"{knobs.benchmark}, mode {knobs.mode}: {rule.description}"


def _by_layout(
  config: common.Section, benchmark: benchmarks.LayoutBenchmark, path: str, knob: str
) -> Sequence[schema.Example]:
  """The pairs of a benchmark in the order of its files, those that people call equal among them."""
  files = published.find_pattern(
    path, benchmark.FILES, f"{benchmark.NAME} ({benchmark.NEEDS})", knob=knob
  )
  source = datasets.open(
    f"{benchmark.LAYOUT}:{files}", "", seed=config.seed, ties="keep", max_bad=config.data.max_bad
  )
  published.warn_of_size(benchmark.NAME, len(source), benchmark.SIZES)
  if again := datasets.repeated_ids(source):
    logging.warning(
      "%s: %d pairs have an id that another pair has, and are called id#2 and so on; the first: %s",
      *(benchmark.NAME, again.count, ", ".join(again.first)),
    )
  _check_groups(source, benchmark.MODES["both"])
  return source


def _check_groups(source: Sequence[schema.Example], rule: rules.Rule) -> None:
  """Raises BadExample, before a model is trained, if the first pairs are all without a group.

  A single such pair is left out, see `usable`.
  """
  faults = []
  for example in itertools.islice(_readable(source), LOOKED_AT):
    try:
      rule.family(example)
    except schema.BadExample as error:
      faults.append(error)
    else:
      return
  if faults:
    raise faults[0]


def _readable(source: Sequence[schema.Example]) -> Iterator[schema.Example]:
  for i in range(len(source)):
    try:
      yield source[i]
    except schema.BadExample:
      continue  # whoever reads all pairs counts it


def usable(
  source: Sequence[schema.Example], rule: rules.Rule, skips: bad_examples.Skips
) -> selection.Subset:
  """The pairs that can be scored, unopened: those with a gold answer, and those called equal.

  Args:
    source: the pairs.
    rule: groups the pairs; one that it cannot group is left out.
    skips: counts the pairs that are left out.

  Raises:
    ValueError: no pair has a gold answer.
    bad_examples.TooManyBad: more pairs are left out than config.data.max_bad allows.
  """
  out, decided = [], 0
  for i in range(len(source)):
    try:
      example = source[i]
      rule.family(example)
    except schema.BadExample as error:
      skips.add(f"row {i + 1}", error)
      continue
    decided += example.gold is not None
    if example.gold is None and not example.tie:
      skips.add(example.id, f"example {example.id!r} has no gold answer to score against")
    else:
      out.append(i)
  if not decided:
    why = f"see {skips.path}" if len(skips) else "people call all of them equal"
    raise ValueError(f"none of {len(source):,} pairs has a gold answer: {why}")
  return selection.Subset(source, tuple(out))
