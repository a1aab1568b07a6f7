import pytest

from cot_rm.data import jsonl, shapes, sources


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
