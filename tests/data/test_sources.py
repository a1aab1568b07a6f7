import pytest

from cot_rm.data import jsonl, pipeline, shapes, sources, store


@pytest.fixture
def folder(tmp_path):
  of = lambda split, count: shapes.examples(shapes.World(), split, count=count)
  store.write(tmp_path / "set", {"kept": of("train", 5), "failed": of("heldout", 3)})
  return tmp_path / "set"


def test_the_built_in_world_is_a_source():
  examples = sources.get("shapes")(shapes.World(), "train", count=2)
  assert [example.id for example in examples] == ["shapes-train-0-0", "shapes-train-0-1"]


def test_a_file_is_a_source(tmp_path):
  given = list(shapes.examples(shapes.World(), "train", count=3))
  jsonl.write(tmp_path / "a.jsonl", given)
  assert [one.id for one in sources.get("jsonl")(tmp_path / "a.jsonl")] == [one.id for one in given]


def test_an_unknown_source_names_the_nearest():
  with pytest.raises(ValueError, match="unknown source 'shape'; known: shapes, jsonl; did"):
    sources.get("shape")


def test_several_splits_are_read_one_after_the_other(folder):
  both = sources.open(folder, "kept+failed")
  parts = [*sources.open(folder, "kept"), *sources.open(folder, "failed")]
  assert len(both) == 8 and [both[i] for i in range(8)] == list(both) == parts
  assert [one.id for one in sources.first(sources.open(folder, "failed+kept"), 3)] == [
    one.id for one in parts[5:]
  ]
  with pytest.raises(IndexError, match="no example 8 of 8"):
    both[8]


def test_several_splits_are_shuffled_as_one(folder):
  both = sources.open(folder, "kept+failed")
  (ids,) = pipeline.questions(both, lambda one: one.id, seed=0, batch=8, epochs=1)
  assert sorted(ids) == sorted(one.id for one in both) and ids != [one.id for one in both]


def test_one_of_several_splits_that_is_not_there_is_named(folder):
  with pytest.raises(ValueError, match="no split 'fialed'; it has"):
    sources.open(folder, "kept+fialed")
