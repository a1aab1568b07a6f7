"""Examples of a JSONL file or of several splits."""

import pytest

from cot_rm.data import array_record, bad_examples, datasets, pipeline, selection
from cot_rm.toy_world import world


@pytest.fixture
def folder(tmp_path):
  of = lambda split, count: world.examples(world.World(), split, count=count)
  array_record.write(tmp_path / "set", {"kept": of("train", 5), "failed": of("heldout", 3)})
  return tmp_path / "set"


def test_several_splits_are_read_one_after_the_other(folder):
  both = datasets.open(folder, "kept+failed")
  parts = [*datasets.open(folder, "kept"), *datasets.open(folder, "failed")]
  assert len(both) == 8 and [both[i] for i in range(8)] == list(both) == parts
  assert list(datasets.open(folder, "failed+kept")) == [*parts[5:], *parts[:5]]
  assert [both[i] for i in (-1, -8)] == [parts[-1], parts[0]]
  with pytest.raises(IndexError, match="no element 8 of 8"):
    both[8]


def test_several_splits_are_shuffled_as_one(folder):
  both = datasets.open(folder, "kept+failed")
  (ids,) = pipeline.prompt_batches(both, lambda one: one.id, seed=0, batch=8, epochs=1)
  assert sorted(ids) == sorted(one.id for one in both) and ids != [one.id for one in both]


def test_one_of_several_splits_that_is_not_there_is_named(folder):
  with pytest.raises(ValueError, match="no split 'fialed'; it has"):
    datasets.open(folder, "kept+fialed")


def test_a_file_without_examples_is_named(tmp_path):
  (tmp_path / "pairs.jsonl").write_text("\n")
  with pytest.raises(ValueError, match="pairs.jsonl: there are no examples in it"):
    datasets.open(tmp_path / "pairs.jsonl", "train")


@pytest.mark.parametrize("knob", [{"ties": "drp"}, {"pairs": "al"}])
def test_unknown_options_are_named(tmp_path, knob):
  (name,) = knob
  with pytest.raises(ValueError, match=rf"unknown {name} .* \(config.data.{name}\); did you mean"):
    datasets.open(tmp_path, "train", **knob)


def test_bad_records_of_a_source_are_told(tmp_path):
  pair = '{"prompt": "?", "chosen": "a", "rejected": "b"}'
  for name in "ab":
    (tmp_path / f"{name}.jsonl").write_text(f"{pair}\n{{nope\n{pair}\n")
  source = datasets.open(tmp_path, "train", max_bad=2)
  assert len(source) == 4
  subset = selection.Subset(source, (0,))
  for one in (source, subset):
    first, second = datasets.what_was_found(one).bad
    assert "a.jsonl, line 2: not JSON" in first and "b.jsonl, line 2: not JSON" in second
  assert datasets.what_was_found(list(source)).bad == []


def test_reading_stops_when_far_too_many_records_are_bad(tmp_path, monkeypatch):
  monkeypatch.setattr(datasets.source, "ENOUGH", 3)
  lines = ['{"prompt": "?", "chosen": "a", "rejected": "b"}'] + ["nope"] * 10
  (tmp_path / "a.jsonl").write_text("\n".join(lines))
  with pytest.raises(bad_examples.TooManyBad, match="5 examples cannot be used"):
    datasets.open(tmp_path / "a.jsonl", "train", max_bad=1)


def test_a_missing_path_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="no such file or folder: .*gone.json"):
    datasets.open(tmp_path / "gone.json", "train")
