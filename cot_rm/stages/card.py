"""The reproduction card of an evaluation: everything that its figures depend on, in one place."""

import importlib.metadata
import inspect
import json
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from etils import epath

from cot_rm import files, prompts, schema
from cot_rm.benchmarks import rules
from cot_rm.prompts import Grammar
from cot_rm.stages import common


class Counts(NamedTuple):
  """The items behind the figures."""

  pairs: int  # that were judged
  not_judged: int


def write(
  folder: epath.Path,
  conditions: dict[str, Any],
  knobs: common.Section,
  rule: rules.Rule,
  counts: Counts,
) -> dict[str, Any]:
  """Writes <folder>/card.json, and returns it.

  Args:
    folder: of the answers of one model.
    conditions: everything that an answer depends on, see common.begin_answers.
    knobs: of the stage.
    rule: by which the benchmark was asked and scored.
    counts: of the pairs.
  """
  grammar = prompts.get(conditions["grammar"])
  card = {
    "benchmark": knobs.benchmark,
    "mode": knobs.mode,
    "orders, reading and groups": rule.description,
    "reading": rule.reading.__name__,
    "prompt": prompt_hash(grammar),
    "parser": files.digest(pathlib.Path(inspect.getfile(grammar.parse)).read_bytes()),
    "package": importlib.metadata.version("cot_rm"),
    **counts._asdict(),
    "votes": knobs.votes if conditions["read"] == "text" else 0,
    "vote_pairs": knobs.vote_pairs,
    **conditions,
  }
  files.write_atomic(folder / "card.json", json.dumps(card, indent=2))
  return card


def prompt_hash(grammar: Grammar) -> str:
  """A hash of the grammar's prompts: of all tasks, and of pairs that mix texts and media."""
  rendered = []
  for example in _fixed_pairs():
    try:
      rendered.append([example.task, grammar.render(example)])
    except schema.BadExample:
      rendered.append([example.task, "not rendered"])
  text = json.dumps(rendered, default=lambda medium: [medium.kind, medium.source])
  return files.digest(text.encode())


def _fixed_pairs() -> Iterator[schema.Example]:
  for task in schema.TASKS:
    kind: schema.Kind = "video" if task.startswith("video") else "image"
    generation = task.endswith("generation")
    media = tuple(schema.Media(kind, source) for source in ("1", "2")[: 2 if generation else 1])
    responses = () if generation else ("first", "second")
    yield schema.Example("card", "card", task, "question", media, responses)
  for kind in schema.KINDS:
    one, two, three = (schema.Media(kind, source) for source in ("1", "2", "3"))
    yield schema.Example.mixed(["question", one], two, three, id="card")
    yield schema.Example.mixed("question", ["first", one], ["second", two], id="card")
