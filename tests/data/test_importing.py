import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from cot_rm import prompts, schema
from cot_rm.data import array_record, bad_examples, identity, import_checks, importing
from cot_rm.toy_world import world

WORLD = world.World(side=56)
ROOT = pathlib.Path(__file__).resolve().parents[2]


class Bar:
  def advance(self, count=1, **values):
    pass


def bar(total, done):
  return contextlib.nullcontext(Bar())


def _examples(count, split="train"):
  examples = world.examples(WORLD, split, count=count)
  return [dataclasses.replace(example, reasoning=None) for example in examples]


def _plan(folder, *sources, **how):
  given = dict(
    rules=import_checks.Rules(),
    grammar=prompts.get("brief"),
    processor=None,
    val=0.1,
    seed=0,
    threads=2,
    shard_bytes=20_000,
  )
  named = [
    source if isinstance(source, importing.Source) else importing.Source(f"source {i}", source)
    for i, source in enumerate(sources)
  ]
  return importing.Plan(folder=pathlib.Path(folder), sources=named, **{**given, **how})


def _run(plan, limit=0, conditions=None):
  importing.run(plan, bad_examples.Skips(plan.folder, limit=limit), conditions or {}, bar)
  return json.loads((plan.folder / "figures.json").read_text())


def _splits(folder):
  return {split: list(array_record.open(folder / "data", split)) for split in ("train", "check")}


class Faulty(list):
  """Examples some of which cannot be read; an index may interrupt the reader, once."""

  def __init__(self, examples, bad=(), interrupt=None):
    super().__init__(examples)
    self.bad, self.interrupt, self.read = dict(bad), interrupt, []

  def __getitem__(self, index):
    if isinstance(index, int):
      self.read.append(index)
      if index == self.interrupt:
        self.interrupt = None
        raise KeyboardInterrupt
      if index in self.bad:
        raise schema.BadRecord(f"pairs.jsonl, line {index + 1}: {self.bad[index]}")
    return super().__getitem__(index)


def test_every_example_is_in_one_split_in_the_order_of_its_source(tmp_path):
  given = _examples(60)
  figures = _run(_plan(tmp_path, given[:20], given[20:]))
  splits = _splits(tmp_path)
  assert splits["train"] == [example for example in given if example not in splits["check"]]
  assert len(splits["train"]) + len(splits["check"]) == 60
  assert figures["splits"] == {name: len(split) for name, split in splits.items()}
  counts = figures["sources"]
  assert [(of["read"], of["kept"]) for of in counts.values()] == [(20, 20), (40, 40)]
  shards = len(list((tmp_path / "data").glob("*train.array_record*")))
  assert shards > 2  # files are bounded


def test_what_is_left_out_is_counted_by_source_and_reason_and_listed(tmp_path):
  one, two = Faulty(_examples(10), {3: "not JSON"}), _examples(10, "heldout")
  two[0] = dataclasses.replace(two[0], gold=None)
  two[5] = one[1]  # an example of the other source
  two[6] = dataclasses.replace(
    two[6],
    media=(schema.Media(two[6].media[0].kind, "/none.png"),) * 2,
    task=f"{two[6].media[0].kind}_generation",
    responses=(),
  )
  figures = _run(_plan(tmp_path, one, two), limit=4)
  first, second = figures["sources"].values()
  assert (first["read"], first["kept"], first["record"]) == (10, 9, 1)
  assert (second["read"], second["kept"]) == (10, 7)
  assert (second["gold"], second["repeated"], second["media"]) == (1, 1, 1)
  lines = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
  assert [line["id"] for line in lines][:2] == ["source 0, record 3", two[0].id]
  assert "comes again as record 15" in lines[2]["reason"]
  kept = [example.id for split in _splits(tmp_path).values() for example in split]
  assert len(set(kept)) == len(kept) == 16


def test_other_examples_of_the_same_id_get_ids_of_their_own(tmp_path):
  same = [dataclasses.replace(e, id="1") for e in _examples(6)]
  figures = _run(_plan(tmp_path, same[:2], same[2:], val=0))
  assert [e.id for e in array_record.open(tmp_path / "data", "train")] == [
    "1",
    *(f"1#{number}" for number in range(2, 7)),
  ]
  assert [of["renamed"] for of in figures["sources"].values()] == [1, 4]
  found = [dataclasses.replace(e, id="1") for e in array_record.open(tmp_path / "data", "train")]
  assert found == same


def test_records_that_are_no_pairs_are_counted_too(tmp_path):
  source = importing.Source(
    "chats", _examples(10), ["chats.json, record 3: no question"], {"a tie": 4}
  )
  with pytest.raises(bad_examples.TooManyBad, match="chats.json, record 3: no question"):
    _run(_plan(tmp_path, source))
  [counts] = _run(_plan(tmp_path, source), limit=1)["sources"].values()
  assert (counts["read"], counts["kept"], counts["record"], counts["no pair: a tie"]) == (
    11,
    10,
    1,
    4,
  )
  assert "record 3" in (tmp_path / "skipped.jsonl").read_text()


def test_one_bad_example_more_than_the_limit_ends_the_import(tmp_path):
  source = Faulty(_examples(10), {3: "not JSON", 7: "not UTF-8"})
  with pytest.raises(bad_examples.TooManyBad, match="config.data.max_bad=2"):
    _run(_plan(tmp_path, source), limit=1)
  assert not (tmp_path / "data").exists()
  assert _run(_plan(tmp_path, source), limit=2)["splits"]["train"] > 0


@pytest.mark.parametrize("at", [0, 1, 9, 25, 39])
def test_an_interrupted_import_ends_as_if_it_had_not_been(tmp_path, at):
  bad = {2: "not JSON", 30: "not JSON"}
  given = _examples(40)
  whole = _run(_plan(tmp_path / "whole", Faulty(given, bad)), limit=2)
  source = Faulty(given, bad, interrupt=at)
  with pytest.raises(KeyboardInterrupt):
    _run(_plan(tmp_path / "again", source), limit=2)
  assert not (tmp_path / "again" / "data").exists()
  source.read.clear()
  assert _run(_plan(tmp_path / "again", source), limit=2) == whole
  assert _splits(tmp_path / "again") == _splits(tmp_path / "whole")
  for split in ("train", "check"):
    hashes = {
      identity.source_hash(array_record.open(tmp_path / run / "data", split))
      for run in ("whole", "again")
    }
    assert len(hashes) == 1
  if at == 39:
    assert min({*source.read} - bad.keys()) > 20  # complete files are kept
  names = lambda run: sorted(path.name for path in (tmp_path / run).rglob("*"))
  assert names("whole") == names("again")
  assert (tmp_path / "whole/skipped.jsonl").read_text() == (
    tmp_path / "again/skipped.jsonl"
  ).read_text()


def test_other_data_or_knobs_begin_again(tmp_path):
  given = _examples(40)
  with pytest.raises(KeyboardInterrupt):
    _run(_plan(tmp_path, Faulty(given, interrupt=30)), conditions={"files": 1})
  others = _examples(40, "heldout")
  _run(_plan(tmp_path, others), conditions={"files": 2})
  assert {e.id for split in _splits(tmp_path).values() for e in split} == {e.id for e in others}


def test_an_import_begins_again_when_an_example_that_was_left_out_is_usable(tmp_path):
  given = _examples(40)
  with pytest.raises(KeyboardInterrupt):
    _run(_plan(tmp_path, Faulty(given, {2: "no picture"}, interrupt=39)), limit=1)
  figures = _run(_plan(tmp_path, given))
  assert sum(figures["splits"].values()) == 40 and figures["sources"]["source 0"]["read"] == 40


KILLED = """
import contextlib, pathlib, sys, time
sys.path.insert(0, {tests!r})
import test_importing as t
class Slow(list):
  def __getitem__(self, index):
    time.sleep(0.01)
    return super().__getitem__(index)
t._run(t._plan({folder!r}, Slow(t._examples(200)), shard_bytes=10_000))
"""


@pytest.mark.slow
def test_an_import_that_is_killed_at_any_moment_continues(tmp_path):
  script = KILLED.format(tests=str(pathlib.Path(__file__).parent), folder=str(tmp_path / "killed"))
  kills = 0
  for wait in (0.05, 0.4, 0.9, 1.3, None):
    process = subprocess.Popen(
      [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    if wait is not None:
      began = time.monotonic()
      while not (tmp_path / "killed/seen.bin").exists() and time.monotonic() - began < 60:
        time.sleep(0.01)
      time.sleep(wait)
      os.kill(process.pid, signal.SIGKILL)
      kills += process.wait() == -signal.SIGKILL
    else:
      assert process.wait(timeout=60) == 0
  assert kills >= 2
  _run(_plan(tmp_path / "whole", _examples(200), shard_bytes=10_000))
  assert _splits(tmp_path / "killed") == _splits(tmp_path / "whole")


def test_nothing_left_to_train_on_is_named(tmp_path):
  same = [dataclasses.replace(e, id=str(i)) for i, e in enumerate(_examples(1) * 3)]
  with pytest.raises(ValueError, match="no example of source 0 is left beside the validation"):
    _run(_plan(tmp_path, same))
  figures = _run(_plan(tmp_path, same, val=0), conditions={"val": 0})
  assert figures["splits"] == {"train": 3}


def test_the_size_that_is_missing_is_estimated_from_a_sample(tmp_path):
  given = _examples(200)
  plan = _plan(tmp_path, given)
  estimate = importing.missing_bytes(plan)
  draft = array_record.draft_folder(tmp_path / "data")
  draft.mkdir()
  (draft / "shard").write_bytes(bytes(estimate // 2))
  assert importing.missing_bytes(plan) == estimate - estimate // 2
  [counts] = _run(plan)["sources"].values()
  assert estimate == pytest.approx(counts["bytes"], rel=0.3)


def test_few_examples_are_in_memory_at_a_time():
  held, most, lock = 0, 0, threading.Lock()

  def make(item):
    nonlocal held, most
    with lock:
      held += 1
      most = max(most, held)
    return item

  for expected, item in enumerate(importing.in_order(make, range(100), threads=3)):
    assert item == expected
    with lock:
      held -= 1
  assert most <= 5


def test_a_stamp_changes_with_any_file_of_a_folder(tmp_path):
  (tmp_path / "a").mkdir()
  (tmp_path / "a/b.txt").write_text("x")
  before = importing.stamp(tmp_path)
  assert importing.stamp(tmp_path) == before
  (tmp_path / "a/b.txt").write_text("xy")
  assert importing.stamp(tmp_path) != before
  assert importing.stamp(tmp_path / "a/b.txt") != before
  of_pattern = importing.stamp(tmp_path / "a/*.txt")
  (tmp_path / "a/c.txt").write_text("x")
  assert importing.stamp(tmp_path / "a/*.txt") != of_pattern
