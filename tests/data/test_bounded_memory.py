"""A data set that is larger than the memory can be used: no step of any stage holds it whole."""

import base64
import contextlib
import io
import json
import tracemalloc
import types

import numpy as np
import pytest
from PIL import Image

from cot_rm import schema
from cot_rm.benchmarks import pairs
from cot_rm.data import (
  answer_log,
  array_record,
  datasets,
  distillation,
  identity,
  pipeline,
  rejection,
  selection,
)
from cot_rm.stages import preflight_data

COUNT, SIDE = 120, 300  # pictures of a quarter of a megabyte
LIMIT = 14e6  # bytes: a few examples at a time, and a part of the file while lines are counted


@pytest.fixture(scope="module")
def large(tmp_path_factory):
  """A JSONL file with pictures inside its records, about 44 MB."""
  path = tmp_path_factory.mktemp("large") / "pairs.jsonl"
  rng = np.random.default_rng(0)
  with path.open("w") as file:
    for number in range(COUNT):
      out = io.BytesIO()
      Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(out, "PNG")
      record = {
        "id": f"pair-{number}",
        "task": "image_understanding",
        "question": f"How many of kind {number}?",
        "media": [{"kind": "image", "base64": base64.b64encode(out.getvalue()).decode()}],
        "responses": ["two", "three"],
        "gold": number % 2 + 1,
        "reasoning": f"<think>So.</think><answer>{number % 2 + 1}</answer>",
        "attempts": number % 3 + 1,
      }
      file.write(json.dumps(record) + "\n")
  return path


def _open(path):
  return datasets.open(path, "train")


def _log(path, folder):
  source = _open(path)
  records = [
    {"row": row, "id": e.id, "hash": identity.question_hash(e)} for row, e in enumerate(source)
  ]
  answer_log.write(folder / "log.jsonl", records)
  assert len(answer_log.read(folder / "log.jsonl", source)) == COUNT


def _pool(path, folder):
  pool = rejection.PairPool(_open(path))
  samples = [
    {"row": row, "id": str(row), "right": row % 2 == 0, "answer": 1, "text": "", "tokens": 1}
    for row in range(COUNT)
  ]
  accepted = rejection.accept(samples, max_per_pair=1)
  rejection.statistics(pool, accepted, samples)
  array_record.write(folder / "data", rejection.splits(pool, accepted, samples, {}))


def _batches(path, folder):
  stream = pipeline.prompt_batches(_open(path), lambda e: e.id, seed=0, batch=4)
  assert len({id for _ in range(COUNT // 4) for id in next(stream)}) == COUNT


def _preflight(path, folder):
  how = preflight_data.Measure("r1_reward", None, {}, swapped=True)
  rows = preflight_data.measure(folder, _open(path), how, name="pairs")
  assert not [row.fault for row in rows if row.fault]


def _evaluation(path, folder):
  tokens = 10_000  # of an answer; their number is kept
  completion = schema.Completion("", np.zeros(tokens, np.int32), np.zeros(tokens), "stop")

  def ask(examples, progress):
    one = dict(completions=(completion,), verdicts=(schema.Verdict(1),))
    return [types.SimpleNamespace(example=example, **one) for example in examples]

  no_bar = contextlib.nullcontext(types.SimpleNamespace(advance=None))
  given, swapped = answer_log.complete(
    folder / "log.jsonl", _open(path), [(0, 1)] * COUNT, ask, n=1, step=4, bar=lambda *_: no_bar
  )
  assert pairs.score(given, swapped)["accuracy"] == 0.5


STEPS = {
  "opening": lambda path, folder: _open(path),
  "reading": lambda path, folder: [e.id for e in _open(path)],
  "selection": lambda path, folder: selection.select(
    _open(path),
    tasks=["image_understanding"],
    min_attempts=2,
    order="ascending",
    needs_gold=True,
  ),
  "drawing pairs": lambda path, folder: distillation.sample_pairs(
    _open(path), count=0, tasks=(), seed=0
  ),
  "rejection": _pool,
  "answers": _log,
  "evaluation": _evaluation,
  "identity": lambda path, folder: identity.source_hash(_open(path)),
  "batches": _batches,
  "preflight": _preflight,
  "storing": lambda path, folder: array_record.write(folder / "data", {"train": _open(path)}),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_holds_a_few_examples_at_a_time(large, tmp_path, step):
  assert large.stat().st_size > 3 * LIMIT
  tracemalloc.start()
  try:
    STEPS[step](large, tmp_path)
    assert tracemalloc.get_traced_memory()[1] < LIMIT
  finally:
    tracemalloc.stop()
