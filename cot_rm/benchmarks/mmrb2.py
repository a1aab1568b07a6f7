"""Multimodal RewardBench 2 (Hu et al., arXiv:2512.16899): 4 tasks of 1,000 pairs each.

Its owners' benchmark/build_from_hf.py makes <task>.json, images/ and input_images/ of each task:

    t2i          pictures of a text
    edit         edits of one or several pictures
    interleaved  answers of texts and new pictures
    reasoning    answers that think with pictures

A prompt and a response are lists of ["text", text] and ["image", path]. Texts side by side are one
text, as a chat template sets them. Prompts and responses that mix both are pairs of
schema.Example.mixed, and shown in their order. The owners' judges have a prompt for each task, and
answer in JSON; here the grammar's prompt asks, so only the scoring is theirs.

The data are licensed CC BY-NC 4.0, for benchmarking only: nothing may be trained on them.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

from absl import logging

from cot_rm import registry
from cot_rm.benchmarks import pairs, published, readings, rules
from cot_rm.schema import BadRecord, Example, Media

NAME = "MMRB2"
TASKS = ("t2i", "edit", "interleaved", "reasoning")
FILES = tuple(f"{task}.json" for task in TASKS)
SIZES = {"each task": range(1000, 1001)}
_BUILD = "its owners' benchmark/build_from_hf.py makes the files with prompts and pictures"
LICENCE = (
  "MMRB2 is licensed CC BY-NC 4.0 and for benchmarking only: do not train on its pairs, nor on "
  "judgements of them"
)


def _rule(
  orders: Callable, description: str, reading: readings.Reading = readings.grammar
) -> rules.Rule:
  return rules.Rule(
    orders=orders,
    reading=reading,
    family=lambda example: str(example.extra["task"]),
    cluster=lambda example: str(example.extra["prompt"]),
    description=description,
  )


MODES: dict[str, rules.Rule] = {
  "both": _rule(rules.both, "mean of both orders; an answer without a verdict is wrong"),
  "first": _rule(rules.first, "the stored order; an answer without a verdict is wrong"),
  "official": _rule(
    rules.both,
    "both orders; answers without a verdict leave the denominator, as in compute_accuracy.py",
    readings.grammar_or_left_out,
  ),
}


def examples(root: str | pathlib.Path) -> Sequence[Example]:
  """The pairs of the tasks whose files are in a folder, response A first; or of one such file.

  An Example's id is "<task>:<id>"; `extra` has `id`, `task`, `models` and `prompt`, which pairs
  about one prompt share. Paths of pictures start at the file's folder, else at its images/.

  A pair whose record is invalid, whose picture is missing, or whose id was there before raises
  BadExample where it is read, by record and field.

  Raises:
    FileNotFoundError: no file of a task.
    ValueError: a file that is of no task.
  """
  logging.log_first_n(logging.WARNING, LICENCE, 1)
  paths = _files(pathlib.Path(root))
  parts = [published.read_pairs([path], _unique()) for path in paths]
  for path, part in zip(paths, parts, strict=True):
    published.warn_of_size(f"{NAME}, task {path.stem}", len(part), SIZES)
  if missing := [task for task in TASKS if task not in {path.stem for path in paths}]:
    logging.warning(
      "%s: there is no file of %s in %s; accuracies are over %s alone",
      *(NAME, ", ".join(missing), root, ", ".join(path.stem for path in paths)),
    )
  return published.Pairs.joined(parts)


def _files(root: pathlib.Path) -> list[pathlib.Path]:
  """The files of the tasks, in the order of TASKS."""
  if root.is_file():
    if root.name not in FILES:
      raise ValueError(f"{NAME}: {root} is of no task; {registry.hint(root.name, FILES)}; {_BUILD}")
    return [root]
  found = [root / name for name in FILES if (root / name).is_file()]
  if not found:
    published.find_pattern(root, FILES, f"{NAME} ({_BUILD})")  # raises the error
  return found


def _unique() -> Callable[[int, published.Record, pathlib.Path, str], Example]:
  """Makes the pairs of a file; one whose id was there before raises BadRecord."""
  known: dict[str, str] = {}

  def make(row: int, record: published.Record, path: pathlib.Path, where: str) -> Example:
    pair = _example(record, path, where)
    if pair.id in known:
      raise BadRecord(f"{where}: has the id {pair.extra['id']!r}, and so has {known[pair.id]}")
    known[pair.id] = where
    return pair

  return make


def _example(record: published.Record, path: pathlib.Path, where: str) -> Example:
  id_ = published.text_field(record, "id" if "id" in record else "pair_id", where)
  chosen = record.get("chosen")
  if chosen not in ("A", "B"):
    raise BadRecord(
      f"{where}, field 'chosen': must be 'A' or 'B', not {repr(chosen)[:80]}; the record has "
      f"{', '.join(record)}"
    )
  models, mixtures = [], [_mixture(record, "prompt_content", path.parent, where)]
  for name in ("response_a", "response_b"):
    response = record.get(name)
    if not isinstance(response, dict):
      raise BadRecord(f"{where}, field {name!r}: must be an object, not {repr(response)[:80]}")
    models.append(response.get("model_name"))
    mixtures.append(_mixture(response, "response_content", path.parent, f"{where}, {name!r}"))
  pair = Example.mixed(*mixtures, id=f"{path.stem}:{id_}", gold=1 if chosen == "A" else 2)
  of_prompt = record.get("prompt_metadata")
  prompt = of_prompt.get("id") if isinstance(of_prompt, dict) else None
  shared = pair.id if prompt is None else f"{path.stem}:{record.get('prompt_source')}:{prompt}"
  extra = {"id": id_, "task": path.stem, "models": models, "prompt": shared}
  return dataclasses.replace(pair, source="mmrb2", extra=extra)


def _mixture(
  record: published.Record, name: str, folder: pathlib.Path, where: str
) -> list[str | Media]:
  """The texts and pictures of a field. Raises BadRecord, or BadMedia for a missing picture."""
  where, value = f"{where}, field {name!r}", record.get(name)
  if not isinstance(value, list):
    hint = f"; {_BUILD}" if value is None else ""
    raise BadRecord(f"{where}: must be a list of texts and images, not {repr(value)[:80]}{hint}")
  out: list[str | Media] = []
  for number, entry in enumerate(value):
    match entry:
      case ["text", str(text)]:
        out.append(text)
      case ["image", str(path)]:
        folders = (folder, folder / "images")
        out.append(published.picture(path, folders, f"{where}, entry {number}"))
      case _:
        raise BadRecord(
          f"{where}, entry {number}: must be ['text', text] or ['image', path], not "
          f"{repr(entry)[:80]}"
        )
  return out


def score(
  judgements: pairs.Judgements,
  swapped: pairs.Judgements,
  *,
  mode: str = "both",
  fidelity: pairs.Fidelity | None = None,
  contradicts: pairs.Contradicts | None = None,
) -> pairs.Figures:
  """`pairs.tally` by task, and the mean of the tasks.

  Args:
    judgements: of the examples with response A first; None where not asked.
    swapped: of the same with response B first.
    mode: in MODES: "both" orders, or the stored one, "first"; "official", both orders without the
      answers that have no verdict.
    fidelity, contradicts: see `pairs.tally`.

  Returns:
    The figures of `pairs.tally`, accuracy being "Overall" of the owners' script, and
    accuracy_macro: mean of the tasks' accuracies, "Avg." of their table; left out without a verdict
      that counts.
  """
  rule = registry.lookup(MODES, mode, "mode")
  out = pairs.tally(judgements, swapped, rule, fidelity=fidelity, contradicts=contradicts)
  pairs.add_macro(out, judgements, swapped, rule)
  return out
