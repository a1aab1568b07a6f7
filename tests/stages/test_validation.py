"""Validation pairs that cannot be judged are found before the first step, and left out."""

import dataclasses
import json

import pytest

from cot_rm.data import bad_examples
from cot_rm.stages import common, validation
from tests.stages.pairs import as_jsonl, damaged, pairs, wordy


@pytest.fixture
def make(config, workdir):
  """`make()`: the validation on six pairs of which three cannot be judged."""
  given = pairs(6)
  given[1] = damaged(given[1])
  given[2] = wordy(given[2])
  given[4] = dataclasses.replace(given[4], gold=None)
  config.eval.data = as_jsonl(workdir / "check.jsonl", given)
  config.eval.val_split, config.eval.val_pairs = "train", 6
  judge = common.load_judge(config, workdir, "world", max_prompts=4)
  return lambda: validation.make(config, workdir, "rl", judge)


def test_pairs_that_cannot_be_judged_are_left_out_and_listed(make, config, workdir):
  config.data.max_bad = 3
  validate = make()
  assert [pair.id for pair in validate.keywords["examples"]] == ["p-0", "p-3", "p-5"]
  lines = (workdir / "rl" / "skipped.jsonl").read_text().splitlines()
  assert [json.loads(line)["id"] for line in lines] == [
    f"validation: {id}" for id in ("p-1", "p-2", "p-4")
  ]


def test_more_of_them_than_the_knob_allows_end_the_stage_before_its_first_step(make, config):
  config.data.max_bad = 2
  with pytest.raises(bad_examples.TooManyBad, match="config.data.max_bad=3"):
    make()


def test_a_validation_without_any_pair_is_an_error(make, config, workdir):
  config.data.max_bad = 9
  config.eval.data = as_jsonl(workdir / "none.jsonl", [damaged(pair) for pair in pairs(2)])
  with pytest.raises(ValueError, match="none of 2 validation pairs"):
    make()
