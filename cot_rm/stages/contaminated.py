"""Looks for the pairs that models are scored on in the data that they were trained on."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent import futures

import jax
from absl import logging
from etils import epath

from cot_rm import files, media, metrics, schema
from cot_rm.data import contamination
from cot_rm.stages import common

AHEAD = 64  # examples that are read at the same time, or wait to be taken


def run(
  config: common.Section,
  knobs: common.Section,
  workdir: epath.Path,
  name: str,
  *,
  examples: Sequence[schema.Example],
) -> set[str]:
  """The ids of the examples whose pictures or texts are in the training data.

  Writes workdir/<name>/contamination.json, the matches of each example by kind, and exclude.txt,
  the ids of the training examples behind them, for config.import.exclude.

  Args:
    config: the whole config.
    knobs: its section of the stage: `contamination`, `contamination_split`.
    workdir: the run's folder.
    name: the stage's folder in it.
    examples: that models are scored on.
  """
  options = common.media_options(config)
  items = [*_prints(examples, options, f"{name}: the pairs")]
  training: list[contamination.Prints] = []
  for data in sources(knobs.contamination):
    opened = common.open_examples(config, workdir, data, knobs.contamination_split)
    training += _prints(opened, options, f"{name}: {data}")
  matches = contamination.find(items, training)
  found = [match for match in matches if match.contaminated]
  exclude = [*dict.fromkeys(id for match in found for id in (*match.picture, *match.answers))]
  counts = {
    "pairs": len(items),
    "training examples": len(training),
    "same picture": sum(bool(match.picture) for match in matches),
    "same question and answers": sum(bool(match.answers) for match in matches),
    "same question and short answers": sum(bool(match.short) for match in matches),
    "same caption": sum(bool(match.caption) for match in matches),
    "contaminated": len(found),
  }
  metrics.table(f"pairs of the evaluation in {knobs.contamination}", {"": counts})
  if jax.process_index() == 0:
    folder = workdir / name
    folder.mkdir(parents=True, exist_ok=True)
    records = [match._asdict() for match in matches if any(match[1:])]
    content = {"counts": counts, "matches": records}
    files.write_atomic(folder / "contamination.json", json.dumps(content, indent=2))
    files.write_atomic(folder / "exclude.txt", "".join(f"{id}\n" for id in exclude))
    logging.info("see %s and %s", folder / "contamination.json", folder / "exclude.txt")
  return {match.id for match in found}


def sources(value: str) -> list[str]:
  """The data sets that the knob names, separated by commas."""
  return [part for part in map(str.strip, value.split(",")) if part]


def _prints(
  examples: Sequence[schema.Example], options: media.Options, title: str
) -> Iterator[contamination.Prints]:
  """The prints of all examples that can be read; the others are counted in a warning."""

  shown: dict[str, contamination.Picture] = {}

  def read(index: int) -> contamination.Prints | schema.BadExample:
    try:
      return contamination.prints(examples[index], options, shown)
    except schema.BadExample as error:
      return error

  unread: list[schema.BadExample] = []
  with metrics.bar(title, len(examples)) as bar, futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for start in range(0, len(examples), AHEAD):
      part = range(start, min(start + AHEAD, len(examples)))
      for found in pool.map(read, part):
        if isinstance(found, schema.BadExample):
          unread.append(found)
        else:
          yield found
      bar.advance(len(part))
  if unread:
    logging.warning(
      "%s: %d of %d examples cannot be read, and are not looked for; the first: %s",
      *(title, len(unread), len(examples), unread[0]),
    )
