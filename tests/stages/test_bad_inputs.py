"""Damaged records and media through whole stages: named errors alone, and no run that ends."""

import base64
import json

import numpy as np
import pytest

from cot_rm.data import bad_examples, jsonl
from cot_rm.schema import BadExample
from cot_rm.stages import judge, preflight, reject
from tests.stages.pairs import pairs

TEXTS = ("", "\ud83d", "<|im_end|>", "<|image_pad|>", "\x00", "a" * 4000, "नमस्ते", "<image>")
VALUES = (None, True, -1, 3, 1e400, "", [], {}, [None], {"a": [1]}, "x" * 300)


def mutated(record, rng):
  """The record with one fault: in a picture's bytes, a text, a field, or the JSON itself."""
  record = json.loads(json.dumps(record))
  kind = rng.integers(6)
  if kind <= 1:
    entry = record["media"][rng.integers(len(record["media"]))]
    data = bytearray(base64.b64decode(entry["base64"]))
    if kind == 0:
      del data[rng.integers(len(data)) :]
    else:
      for at in rng.integers(len(data), size=rng.integers(1, 20)):
        data[at] = rng.integers(256)
    entry["base64"] = base64.b64encode(bytes(data)).decode()
  elif kind == 2:
    record["question"] = str(rng.choice(TEXTS))
  elif kind == 3:
    record[rng.choice([*record])] = VALUES[rng.integers(len(VALUES))]
  elif kind == 4:
    record["media"][0] = VALUES[rng.integers(len(VALUES))]
  else:
    text = json.dumps(record)
    return text[: rng.integers(len(text))]
  return json.dumps(record)


def write(path, count, seed):
  """A file of `count` records of which every second one has a fault; its path as text."""
  rng = np.random.default_rng(seed)
  records = [jsonl.to_record(example) for example in pairs(count)]
  lines = [
    mutated(record, rng) if i % 2 else json.dumps(record) for i, record in enumerate(records)
  ]
  path.write_text("\n".join(line.replace("\n", " ") for line in lines) + "\n")
  return str(path)


@pytest.fixture(params=[pytest.param(60), pytest.param(2000, marks=pytest.mark.slow)])
def given(request, config, workdir):
  """The number of records in a file, of which half are bad, and all may be left out."""
  config.judge.input = config.reject.data = write(workdir / "bad.jsonl", request.param, seed=7)
  config.data.max_bad = request.param
  return request.param


def test_the_judge_ends_with_a_line_for_each_record_that_was_read(config, workdir, given):
  judge.run(config, workdir, "judge")
  lines = (workdir / "judge" / "verdicts.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  judged = [record for record in records if "error" not in record]
  assert given / 2 <= len(judged) < given
  for record in records:
    assert "error" not in record or record["error"]


def test_rejection_sampling_ends_with_the_usable_pairs(config, workdir, given, rewarded):
  figures = reject.run(config, workdir, "reject")
  assert given / 2 <= figures["pairs"] < given
  assert figures["left_out"] <= given / 2


def test_the_preflight_names_them_all_and_raises_nothing(config, workdir, given):
  config.stages = ("judge", "reject")
  for name in config.stages:
    assert preflight.of_stage(config, workdir, name, name).faults == []
  config.data.max_bad = 0
  for name in config.stages:
    (fault,) = preflight.of_stage(config, workdir, name, name).faults
    assert "examples cannot be used" in fault


@pytest.mark.parametrize("seed", range(3))
def test_where_none_may_be_left_out_the_error_has_the_knob(config, workdir, seed):
  config.judge.input = write(workdir / "bad.jsonl", 10, seed=seed)
  with pytest.raises(bad_examples.TooManyBad, match="config.data.max_bad") as error:
    judge.run(config, workdir, "judge")
  assert not isinstance(error.value, BadExample)
