"""Checks of a stage's examples against what the stage will do with them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etils import epath

from cot_rm import schema
from cot_rm.data import bad_examples, datasets, distillation, packing, selection
from cot_rm.stages import common, preflight, preflight_data, preflight_memory
from cot_rm.stages.preflight_data import Row

Rule = Callable[[Row], str | None]  # what is wrong with an example; None: nothing


def check(
  checks: preflight.Checks,
  config: common.Section,
  workdir: epath.Path,
  source: Sequence[schema.Example],
  *,
  name: str,
  folder: str | None,
  rules: Sequence[Rule] = (),
  takes: Rule | None = None,
  swapped: bool = False,
  unique: bool = False,
  max_pixels: int | None = None,
) -> list[Row]:
  """Measures a data set, and adds a fault if more of its examples are bad than the knob allows.

  Args:
    checks: of the stage.
    config: the whole config.
    workdir: the run's folder.
    source: the examples.
    name: of the data set in the table.
    folder: has the processor of the model; None: it is not there yet.
    rules: what else makes an example unusable for the stage.
    takes: why the stage takes no notice of an example; None: it takes all.
    swapped: the other order is asked, too.
    unique: two examples with one id are a fault; else they are said.
    max_pixels: of a picture; None: config.processor.max_pixels.

  Returns:
    The Rows of the examples that the stage takes and can use.
  """
  if not len(source):
    raise ValueError(f"{name}: there are no examples in it")
  how = measure_of(config, folder, swapped=swapped, max_pixels=max_pixels)
  rows = preflight_data.measure(workdir, source, how, name=name)
  taken = {i: row for i, row in enumerate(rows) if row.fault or not (takes and takes(row))}
  if not taken:
    raise ValueError(f"{name}: none of {len(rows):,} examples is taken: {takes and takes(rows[0])}")
  faults = {i: (row.kind, row.fault) for i, row in taken.items() if row.fault}
  for i, row in taken.items():
    for rule in rules:
      if i not in faults and (fault := rule(row)):
        faults[i] = "example", fault
  repeated = {i: fault for i, fault in preflight_data.repeated(rows).items() if i in taken}
  if unique:
    faults |= {i: fault for i, fault in repeated.items() if i not in faults}
  usable = [row for i, row in taken.items() if i not in faults]
  unread = datasets.what_was_found(source).bad
  faults |= {-1 - i: ("record", reason) for i, reason in enumerate(unread)}
  _say(checks, config.data.max_bad, name, len(taken) + len(unread), faults, usable)
  if ambiguous := [row.id for row in usable if row.ambiguous]:
    shown = ", ".join(ambiguous[: bad_examples.SHOWN])
    checks.found[f"{name}: prompts of two readings"] = (
      f"{len(ambiguous):,} ({shown}): a text holds what separates the candidates; "
      f"config.grammar={config.grammar}:escaped marks it"
    )
  if without_gold := sum(not row.gold for row in usable):
    checks.found[f"{name}: without gold"] = f"{without_gold:,} of {len(usable):,}"
  if repeated and not unique:
    checks.found[f"{name}: repeated ids"] = f"{len(repeated):,}"
  return usable


def check_training(
  checks: preflight.Checks, config: common.Section, workdir: epath.Path, section: str, **how: Any
) -> list[Row]:
  """`check` of the examples that a section's knobs `data` and `split` name, to be trained on.

  Empty if an earlier stage will make them. Each process needs one. `how` are keyword arguments of
  `check`.
  """
  knobs = config[section]
  if preflight.planned_data(checks, config, workdir, f"config.{section}.data", knobs.data):
    return []
  source = common.open_examples(config, workdir, knobs.data, knobs.split)
  rows = check(checks, config, workdir, source, name=f"{knobs.data} {knobs.split}", **how)
  preflight.check_processes(checks, len(rows), knobs.data)
  return rows


def measure_of(
  config: common.Section, folder: str | None, *, swapped: bool, max_pixels: int | None = None
) -> preflight_data.Measure:
  """How the examples of a stage are measured; see `check`."""
  knobs, options = common.processor_knobs(config, max_pixels), common.media_options(config)
  return preflight_data.Measure(config.grammar, folder, knobs, swapped, options)


def _say(
  checks: preflight.Checks,
  limit: int,
  name: str,
  count: int,
  faults: Mapping[int, tuple[str, str]],
  usable: Sequence[Row],
) -> None:
  """Writes the facts of a data set into the table, and its bad examples into the faults."""
  checks.found[f"{name}: examples"] = f"{count:,}"
  if faults:
    kinds = bad_examples.describe(kind for kind, _ in faults.values())
    checks.found[f"{name}: cannot be used"] = kinds
  reasons = [fault for _, fault in faults.values()]
  if len(faults) > limit or len(faults) == count:
    checks.faults.append(f"{name}: {bad_examples.too_many(reasons, limit, of=count)}")
  measured = [row for row in usable if row.tokens]
  if measured:
    longest = max(measured, key=lambda row: row.tokens)
    largest = max(measured, key=lambda row: row.patches)
    checks.found[f"{name}: longest prompt"] = (
      f"{longest.tokens:,} tokens ({longest.id}), {largest.patches:,} patches ({largest.id})"
    )
    references = [row for row in measured if row.reference]
    if references:
      row = max(references, key=lambda row: row.tokens + row.reference)
      total = row.tokens + row.reference
      checks.found[f"{name}: longest with reference"] = f"{total:,} tokens ({row.id})"
  checks.found[f"{name}: media"] = preflight.size(sum(row.stored for row in usable))


def needs_gold(row: Row) -> str | None:
  """An example without a gold answer is no use."""
  if row.gold:
    return None
  return f"example {row.id!r} has no gold answer to check judgements against; give gold, 1 or 2"


def needs_gold_or_tie(row: Row) -> str | None:
  """As `needs_gold`, but a pair that people call equal is of use, too."""
  return None if row.tie else needs_gold(row)


def needs_reference(row: Row) -> str | None:
  """An example without a reference judgement is no use."""
  if row.reference:
    return None
  return row.why or f"example {row.id!r} has no reasoning to learn from"


def fits(
  buckets: packing.Buckets,
  *,
  with_reference: bool = False,
  openings: Mapping[str, int] | None = None,
) -> Rule:
  """The prompt, with its reference, or the opening of its answer, fits the largest buckets.

  openings: {task: tokens of the opening of a direct read}; None: nothing is read so.
  """

  def rule(row: Row) -> str | None:
    tokens = row.tokens + row.reference * with_reference + (openings or {}).get(row.task, 0)
    try:
      buckets.token_bucket(row.id, tokens)
      buckets.patch_bucket(row.id, row.patches)
    except schema.BadExample as error:
      return str(error)
    return None

  return rule


def of_tasks(tasks: Sequence[str], knob: str) -> Rule:
  """The stage takes examples of some tasks; empty: all."""

  def takes(row: Row) -> str | None:
    if not tasks or row.task in tasks:
      return None
    return f"{knob} takes the tasks {', '.join(tasks)}"

  return takes


def for_rl(where: str, tasks: Sequence[str], min_attempts: int, order: str) -> Rule:
  """The stage rl takes examples of some tasks that took a teacher some attempts."""
  by_task = of_tasks(tasks, f"{where}.tasks")

  def takes(row: Row) -> str | None:
    if (fault := by_task(row)) is not None:
      return fault
    if (min_attempts or order == "ascending") and row.attempts < 0:
      raise ValueError(
        f"example {row.id!r} has no attempts: {where}.min_attempts and the order 'ascending' of "
        f"{where}.order need data that a teacher has judged"
      )
    if max(row.attempts, 0) < min_attempts:
      return f"{where}.min_attempts is {min_attempts}"
    return None

  return takes


def check_pool(
  checks: preflight.Checks,
  config: common.Section,
  workdir: epath.Path,
  knobs: common.Section,
  where: str,
  tasks: Sequence[str],
  *,
  folder: str | None,
  rules: Sequence[Rule] = (),
) -> None:
  """The pairs that distill or reject will draw, judge and store.

  Args:
    checks, config, workdir, folder, rules: see `check`.
    knobs: of the stage.
    where: its section.
    tasks: that it takes.
  """
  source = common.open_examples(config, workdir, knobs.data, knobs.split)
  bad: dict[int, tuple[str, schema.BadExample]] = {}
  drawn = distillation.sample_pairs(
    source,
    count=knobs.count,
    tasks=tasks,
    seed=config.seed,
    left_out=lambda index, id, error: bad.setdefault(index, (id, error)),
  )
  indices = sorted([*bad, *(pair.index for pair in drawn)])
  rows = check(
    checks,
    config,
    workdir,
    selection.Subset(source, tuple(indices)),
    name=f"{knobs.data} {knobs.split}",
    folder=folder,
    rules=[needs_gold, storable, *rules],
    swapped=True,
    unique=True,
  )
  preflight.check_disk(
    checks, workdir, sum(row.stored for row in rows), f"the data of {where}", at_least=True
  )


def storable(row: Row) -> str | None:
  """An example that cannot be stored in a data set is no use."""
  return row.unstorable or None


def check_references(
  checks: preflight.Checks, rows: Sequence[Row], knob: str, value: str, grammar: str
) -> None:
  """Adds a fault for references of another grammar or with another verdict than gold.

  Args:
    checks: of the stage.
    rows: of its examples.
    knob: the knob that decides what becomes of them.
    value: the knob's value: "refuse" makes them a fault.
    grammar: the config's.
  """
  faults = [fault for row in rows if (fault := contradiction(row, grammar))]
  if not faults:
    return
  checks.found["references of another grammar or verdict"] = f"{len(faults):,} of {len(rows):,}"
  if value == "refuse":
    shown = "".join(f"\n  {fault}" for fault in faults[: bad_examples.SHOWN])
    more = len(faults) - bad_examples.SHOWN
    checks.faults.append(
      f"{len(faults):,} of {len(rows):,} references are of another grammar than {grammar!r}, or "
      f"their verdict is not the gold answer:{shown}"
      + (f"\n  and {more:,} more" if more > 0 else "")
      + f"\nset config.grammar to theirs, or {knob} to 'drop' (leave them out) or 'keep'"
    )


def contradiction(row: Row, grammar: str) -> str | None:
  """Why a reference is not to be learnt from; None: it has no fault."""
  if not row.reference:
    return None
  if row.verdict == preflight_data.NO_VERDICT:
    return f"example {row.id!r}: no reference of the grammar {grammar!r}: {row.why}"
  if row.gold and row.verdict != row.gold:
    return f"example {row.id!r}: the reference prefers {row.verdict}, and gold is {row.gold}"
  return None


def check_validation(
  checks: preflight.Checks,
  config: common.Section,
  workdir: epath.Path,
  folder: str | None,
  *,
  prompts: tuple[str, int],
  max_pixels: int | None = None,
) -> None:
  """The validation pairs of a stage that trains: config.eval.data, its split val_split.

  Args:
    checks, config, workdir, folder, max_pixels: see `check`.
    prompts: (knob, value) of the prompts that are answered at the same time, at most.
  """
  knobs = config.eval
  preflight_memory.check(
    checks,
    config,
    folder,
    max_tokens=("config.eval.max_tokens", knobs.max_tokens),
    prompts=prompts,
  )
  with checks.catching():
    if preflight.planned_data(checks, config, workdir, "config.eval.data", knobs.data):
      return
    source = common.open_examples(config, workdir, knobs.data, knobs.val_split)
    check(
      checks,
      config,
      workdir,
      selection.first(source, knobs.val_pairs),
      name=f"{knobs.data} {knobs.val_split} (validation)",
      folder=folder,
      rules=[needs_gold, fits(common.buckets(config))],
      swapped=True,
      max_pixels=max_pixels,
    )
