"""Every stage treats a bad example alike: it is left out, counted and listed, up to the limit."""

import dataclasses
import json

import pytest

from cot_rm import metrics
from cot_rm.data import bad_examples
from cot_rm.stages import preflight, rl, sft
from tests.stages.pairs import as_jsonl, damaged, pairs


def listed(workdir, stage):
  lines = (workdir / stage / "skipped.jsonl").read_text().splitlines()
  return sorted(json.loads(line)["id"] for line in lines)


@pytest.fixture
def spoil(config, workdir):
  """`spoil(stage)`: its data get a pair whose damage no header shows; one may be left out."""

  def make(stage, count=8, **kinds):
    given = pairs(count, **kinds)
    given[3] = damaged(given[3])
    config[stage].data = as_jsonl(workdir / f"{stage}.jsonl", given)
    config.data.max_bad = 1
    config.stages = (stage,)
    return given

  return make


def test_sft_leaves_a_damaged_picture_out_and_says_so(config, workdir, spoil):
  spoil("sft", reasoning=True)
  (workdir / "sft" / "checkpoints").rmtree()
  assert preflight.of_stage(config, workdir, "sft", "sft").faults == []  # the header is right
  assert sft.run(config, workdir, "sft") == {"left_out": 1}
  assert listed(workdir, "sft") == ["p-3"]
  curves = metrics.read(workdir / "sft" / "metrics.jsonl")
  assert curves["data/skipped"][1][-1] == 1


def test_sft_ends_at_the_first_bad_example_where_none_may_be_left_out(config, workdir, spoil):
  spoil("sft", reasoning=True)
  (workdir / "sft" / "checkpoints").rmtree()
  config.data.max_bad = 0
  with pytest.raises(bad_examples.TooManyBad, match="example 'p-3'.*") as error:
    sft.run(config, workdir, "sft")
  assert "config.data.max_bad=1" in str(error.value)


def test_sft_counts_on_where_an_interrupted_run_left_off(config, workdir, spoil, monkeypatch):
  spoil("sft", count=5, reasoning=True)
  (workdir / "sft" / "checkpoints").rmtree()
  config.sft.steps = 2
  sft.run(config, workdir, "sft")
  config.sft.steps = 3
  made = []
  real = bad_examples.Skips.set_state
  monkeypatch.setattr(
    bad_examples.Skips, "set_state", lambda self, state: (made.append(state), real(self, state))
  )
  assert sft.run(config, workdir, "sft") == {"left_out": 1}
  assert [id for id, *_ in made[0]] == ["p-3"]


def test_references_that_contradict_are_dropped_by_the_knob(config, workdir, caplog):
  given = pairs(6, reasoning=True)
  given[2] = dataclasses.replace(given[2], gold=3 - given[2].gold)
  config.sft.data = as_jsonl(workdir / "some.jsonl", given)
  config.sft.contradicting = "drop"
  source = sft._source(config, workdir, config.sft, str(workdir / "world" / "model"))
  assert [e.id for e in source] == ["p-0", "p-1", "p-3", "p-4", "p-5"]
  config.sft.contradicting = "keep"
  assert len(sft._source(config, workdir, config.sft, str(workdir / "world" / "model"))) == 6


def test_rl_leaves_a_damaged_picture_out_and_says_so(config, workdir, spoil, rewarded):
  spoil("rl")
  config.rl.rollouts = 3
  assert rl.run(config, workdir, "rl") == {"left_out": 1}
  assert listed(workdir, "rl") == ["p-3"]
  assert metrics.read(workdir / "rl" / "metrics.jsonl")["data/skipped"][1][-1] == 1
