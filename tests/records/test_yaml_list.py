"""YAML lists of files: their samples and the folders of their media."""

import json

import pytest

from cot_rm import records
from cot_rm.records import yaml_list


def write(tmp_path, text):
  (tmp_path / "list.yaml").write_text(text)
  (tmp_path / "a.json").write_text(json.dumps([{"n": i} for i in range(10)]))
  return tmp_path / "list.yaml"


@pytest.mark.parametrize(
  "strategy, expected",
  [
    ("all", range(10)),
    ("first:3", range(3)),
    ("end:3", range(7, 10)),
    ("first:25%", range(3)),  # 2.5, rounded up
    ("end:10%", [9]),
    ("first:99", range(10)),
  ],
)
def test_a_sampling_strategy_chooses_records(tmp_path, strategy, expected):
  entry = f"- {{json_path: a.json, sampling_strategy: '{strategy}'}}"
  path = write(tmp_path, f"datasets:\n  {entry}\n  {entry}\n")
  found = records.open(path)
  assert [record["n"] for record in found] == [*expected, *expected]
  last = list(expected)[-1]
  assert found.where(len(found) - 1).endswith(f"a.json, record {last}")


def test_a_random_sample_depends_on_the_seed_alone(tmp_path):
  path = write(tmp_path, "datasets: [{json_path: ./a.json, sampling_strategy: random:40%}]")
  draw = lambda seed: [record["n"] for record in records.open(path, seed=seed)]
  assert draw(0) == draw(0) and len(draw(0)) == len(set(draw(0))) == 4
  assert len({tuple(draw(seed)) for seed in range(5)}) > 1


def test_the_folder_of_the_media_is_given_with_the_records(tmp_path):
  (tmp_path / "pictures").mkdir()
  path = write(tmp_path, "datasets:\n- json_path: a.json\n  image_folder: pictures\n")
  (part,) = records.open(path).parts
  assert part.folders == (tmp_path / "pictures",) and part.path == tmp_path / "a.json"


@pytest.mark.parametrize(
  "text, message",
  [
    ("datasets: []", "must have a list of files"),
    ("[1", "not YAML"),
    ("- 5", r"list.yaml, datasets\[0\]: must have a json_path"),
    ("- {image_folder: x}", "needs a json_path"),
    ("- {json_path: a.json, sampling_strategy: some}", "unknown sampling_strategy 'some'; known"),
  ],
)
def test_a_list_that_is_wrong_is_named(tmp_path, text, message):
  with pytest.raises(ValueError, match=message):
    records.open(write(tmp_path, text))


def test_a_missing_file_of_a_list_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"datasets\[0\]: no such file: .*gone.json"):
    list(yaml_list.read(write(tmp_path, "- {json_path: gone.json}")))
