"""Rejection sampling as a stage: two sets that part the pool, and no sample drawn twice."""

import dataclasses
import json
import shutil
import zlib

import pytest

from cot_rm import judge, rewards
from cot_rm.data import datasets, jsonl, selection
from cot_rm.stages import reject


def by_chance(completions, verdicts, examples, grammar, ask):
  """A reward that a random model gets half of the time."""
  return [float(zlib.crc32(completion.text.encode()) % 2) for completion in completions]


@pytest.fixture
def rewarded(monkeypatch):
  monkeypatch.setitem(rewards.REWARDS, "accuracy", by_chance)


def read(workdir, split):
  return {e.id: e for e in datasets.open(workdir / "reject" / "data", split)}


def test_kept_and_hard_examples_together_are_the_pool(workdir, config, rewarded):
  figures = reject.run(config, workdir, "reject")
  kept, hard = read(workdir, "kept"), read(workdir, "hard")
  pool = {e.id: e for e in selection.first(datasets.open(workdir / "world" / "data", "train"), 16)}
  assert kept.keys() | hard.keys() == pool.keys() and not kept.keys() & hard.keys()
  assert (figures["kept"], figures["hard"]) == (len(kept), len(hard))
  assert figures["unparsable"] == 1  # of 8 tokens
  for e in kept.values():
    assert by_chance([Said(e)], [None], [e], None, None) == [1.0]
    assert e.gold == (3 - pool[e.id].gold if e.extra["sampled"]["swapped"] else pool[e.id].gold)
  said = next(iter(kept.values())).extra["sampled"]
  assert said["model"].endswith("sft/model") and said["seed"] == 0
  assert 0 < said["tokens"] <= 8
  assert said["sampling"]["temperature"] == 1.0
  golds = [e.gold for e in (kept | hard).values()]
  assert golds.count(1) == golds.count(2) == 8


class Said:
  def __init__(self, example):
    self.text = example.reasoning


def test_more_samples_leave_fewer_hard_pairs(workdir, tmp_path, config, rewarded):
  other = shutil.copytree(workdir, tmp_path / "other")
  once = reject.run(config, workdir, "reject")
  config.reject.samples = 4
  more = reject.run(config, other, "reject")
  assert more["samples"] == 64 and more["hard"] < once["hard"]
  assert more["reasonings"] == more["kept"] == 16 - more["hard"]


def test_an_interrupted_run_continues_where_its_file_ends(
  workdir, tmp_path, config, rewarded, monkeypatch
):
  monkeypatch.setattr(reject, "BATCHES", 1)
  other = shutil.copytree(workdir, tmp_path / "other")
  reject.run(config, workdir, "reject")

  calls = []

  def breaks(*args):
    calls.append(args)
    if len(calls) == 3:
      raise RuntimeError("the power went out")
    return real(*args)

  real = rewards.score
  with monkeypatch.context() as patch:
    patch.setattr(rewards, "score", breaks)
    with pytest.raises(RuntimeError, match="the power went out"):
      reject.run(config, other, "reject")
  path = other / "reject" / "samples.jsonl"
  assert len(path.read_text().splitlines()) == 8
  path.write_text(path.read_text() + '{"row": 8, "id"')  # killed while it wrote
  reject.run(config, other, "reject")
  assert path.read_text() == (workdir / "reject" / "samples.jsonl").read_text()
  texts = lambda workdir: {name: one.reasoning for name, one in read(workdir, "kept").items()}
  assert texts(other) == texts(workdir)
  assert json.loads((other / "reject" / "figures.json").read_text())["pairs"] == 16


def test_a_model_that_was_trained_again_is_sampled_again(workdir, config, rewarded, monkeypatch):
  reject.run(config, workdir, "reject")
  path = workdir / "reject" / "samples.jsonl"
  first, marks = (
    path.read_text(),
    {e.extra["sampled"]["mark"] for e in read(workdir, "kept").values()},
  )
  with monkeypatch.context() as patch:
    patch.setattr(judge, "load", lambda *_, **__: pytest.fail("it is sampled again"))
    reject.run(config, workdir, "reject")

  model = workdir / "sft" / "model"
  shutil.rmtree(model)
  shutil.copytree(workdir / "world" / "model", model)
  reject.run(config, workdir, "reject")
  again = {e.extra["sampled"]["mark"] for e in read(workdir, "kept").values()}
  assert len(marks) == len(again) == 1 and marks != again
  assert len(path.read_text().splitlines()) == 16 and path.read_text() != first
  said = {(r["id"], r["text"]) for r in map(json.loads, path.read_text().splitlines())}
  assert {(e.id, e.reasoning) for e in read(workdir, "kept").values()} <= said


def test_only_pairs_that_have_changed_are_sampled_again(workdir, config, rewarded, monkeypatch):
  pairs = list(datasets.open(workdir / "world" / "data", "train"))
  config.reject.data = str(workdir / "pairs.jsonl")
  jsonl.write(config.reject.data, pairs)
  reject.run(config, workdir, "reject")
  path = workdir / "reject" / "samples.jsonl"
  first = [json.loads(line) for line in path.read_text().splitlines()]
  pairs[3] = dataclasses.replace(pairs[3], question="Which?")
  jsonl.write(config.reject.data, pairs)
  reject.run(config, workdir, "reject")
  again = [json.loads(line) for line in path.read_text().splitlines()]
  assert [r for r in again if r["id"] != pairs[3].id] == [
    r for r in first if r["id"] != pairs[3].id
  ]
  assert again[-1]["id"] == pairs[3].id and len(again) == 16
  examples = read(workdir, "kept") | read(workdir, "hard")
  assert examples[pairs[3].id].question == "Which?" and len(examples) == 16
  assert (workdir / "reject" / "earlier" / "1" / "samples.jsonl").exists()


def test_a_correct_sample_satisfies_every_reward_of_accept(workdir, config, rewarded):
  config.reject.accept = ("accuracy", "format")  # nothing of 8 tokens has the form
  assert reject.run(config, workdir, "reject")["kept"] == 0
  assert len(read(workdir, "hard")) == 16


def test_a_misspelt_reward_stops_before_the_model_is_loaded(workdir, config, monkeypatch):
  monkeypatch.setattr(reject.common, "load_judge", None)
  config.reject.accept = ("acuracy",)
  with pytest.raises(ValueError, match="unknown reward 'acuracy'; did you mean 'accuracy'"):
    reject.run(config, workdir, "reject")
