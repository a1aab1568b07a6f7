"""The files at a path: folders of shards, splits by their names, patterns, saved data sets."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cot_rm import records


def shard(path, *numbers):
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == ".parquet":
    pq.write_table(pa.table({"n": pa.array(numbers, pa.int64())}), path)
  else:
    path.write_text("".join(json.dumps({"n": n}) + "\n" for n in numbers))
  return path


def numbers(path, split="train"):
  return [record["n"] for record in records.open(path, split)]


def test_shards_of_a_folder_are_read_in_natural_order(tmp_path):
  for i in (0, 2, 10):
    shard(tmp_path / "data" / f"train-{i}-of-11.parquet", i)
  shard(tmp_path / "data" / "test-0-of-1.parquet", 99)
  (tmp_path / "data" / "a.png").write_bytes(b"")
  assert numbers(tmp_path) == [0, 2, 10] and numbers(tmp_path, "test") == [99]
  assert numbers(tmp_path, "test+train") == [99, 0, 2, 10]
  with pytest.raises(ValueError, match="has no split 'kept'; it has .*train"):
    records.open(tmp_path, "kept")


def test_links_within_a_folder_repeat_no_record_and_end_nothing(tmp_path):
  shard(tmp_path / "a" / "set.jsonl", 1, 2)
  (tmp_path / "a" / "itself").symlink_to(tmp_path)
  (tmp_path / "again").symlink_to(tmp_path / "a")
  (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
  assert numbers(tmp_path) == [1, 2]


def test_a_folder_without_names_of_splits_is_read_whole(tmp_path):
  shard(tmp_path / "set_000.parquet", 1)
  shard(tmp_path / "set_001.parquet", 2)
  assert numbers(tmp_path) == numbers(tmp_path, "heldout") == numbers(tmp_path, "a+b") == [1, 2]


def test_names_of_folders_tell_splits_apart_too(tmp_path):
  shard(tmp_path / "validation" / "0000.parquet", 1)
  shard(tmp_path / "train" / "0000.parquet", 2)
  assert numbers(tmp_path, "val") == numbers(tmp_path, "validation") == [1]


def test_a_pattern_chooses_files(tmp_path):
  shard(tmp_path / "a-1.jsonl", 1)
  shard(tmp_path / "a-2.jsonl", 2)
  shard(tmp_path / "b.jsonl", 3)
  assert numbers(tmp_path / "a-*.jsonl") == [1, 2]
  with pytest.raises(FileNotFoundError, match="no data file matches .*c-"):
    records.open(tmp_path / "c-*.jsonl")


def test_files_of_several_formats_are_not_mixed(tmp_path):
  shard(tmp_path / "a.jsonl", 1)
  shard(tmp_path / "a.parquet", 1)
  with pytest.raises(ValueError, match="several formats .*a.parquet, .*a.jsonl"):
    records.open(tmp_path)


def test_two_forms_of_one_file_are_not_both_read(tmp_path):
  shard(tmp_path / "a.jsonl", 1)
  (tmp_path / "a.json").write_text('[{"n": 1}]')
  with pytest.raises(ValueError, match="has both a.json and a.jsonl; name one of them"):
    records.open(tmp_path)


def test_numbers_of_shards_may_stand_behind_a_dot(tmp_path):
  for n in (10, 9):
    shard(tmp_path / f"part.{n}.jsonl", n)
  assert numbers(tmp_path) == [9, 10]
  shard(tmp_path / "part.9.json", 3)
  with pytest.raises(ValueError, match="has both part.9.json and part.9.jsonl; name one of them"):
    records.open(tmp_path)


def test_a_word_in_a_name_tells_splits_apart(tmp_path):
  shard(tmp_path / "metadata-train.parquet", 1)
  shard(tmp_path / "metadata-validation.parquet", 2)
  assert numbers(tmp_path, "train") == [1] and numbers(tmp_path, "val") == [2]


def test_what_is_not_there_or_no_data_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="no such file or folder: .*gone"):
    records.open(tmp_path / "gone")
  with pytest.raises(FileNotFoundError, match="holds no data file"):
    records.open(tmp_path)
  (tmp_path / "a.txt").write_text("x")
  with pytest.raises(ValueError, match="a.txt: no data file; known: .parquet"):
    records.open(tmp_path / "a.txt")


def save(folder, rows):
  """As datasets.Dataset.save_to_disk."""
  folder.mkdir(parents=True)
  table = pa.Table.from_pylist(rows)
  with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as writer:
    writer.write_table(table)
  state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": None}
  (folder / "state.json").write_text(json.dumps(state))
  (folder / "dataset_info.json").write_text("{}")


def test_a_saved_data_set_is_read(tmp_path):
  save(tmp_path / "set", [{"n": 1}, {"n": 2}])
  assert numbers(tmp_path / "set") == [1, 2]


def test_a_saved_dictionary_of_data_sets_is_read_by_its_splits(tmp_path):
  for name, n in (("train", 1), ("kept", 2)):
    save(tmp_path / "all" / name, [{"n": n}])
  (tmp_path / "all" / "dataset_dict.json").write_text('{"splits": ["train", "kept"]}')
  assert numbers(tmp_path / "all", "kept") == [2]
  with pytest.raises(ValueError, match="no split 'test'; it has train, kept"):
    records.open(tmp_path / "all", "test")


def test_a_saved_data_set_with_a_mapping_is_named(tmp_path):
  save(tmp_path / "set", [{"n": 1}])
  state = {"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}
  (tmp_path / "set" / "state.json").write_text(json.dumps(state))
  with pytest.raises(ValueError, match="flatten_indices"):
    records.open(tmp_path / "set")


@pytest.mark.parametrize(
  "name, content, words",
  [
    ("dataset_dict.json", "", "not JSON, as datasets.save_to_disk writes it"),
    ("dataset_dict.json", "[]", "has no list 'splits'"),
    ("train/state.json", "{", "not JSON, as datasets.save_to_disk writes it"),
    ("train/state.json", '{"_data_files": ["a.arrow"]}', "has no list '_data_files'"),
    ("train/state.json", None, "is missing, which datasets.save_to_disk writes"),
  ],
)
def test_a_damaged_file_of_a_saved_data_set_is_named(tmp_path, name, content, words):
  save(tmp_path / "train", [{"n": 1}])
  (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
  if content is None:
    (tmp_path / name).unlink()
  else:
    (tmp_path / name).write_text(content)
  with pytest.raises((ValueError, OSError), match=f"{name}:? {words}"):
    records.open(tmp_path)


def test_a_split_that_is_not_there_is_named_with_the_knob(tmp_path):
  (tmp_path / "train.jsonl").write_text("{}\n")
  with pytest.raises(ValueError, match="no split 'heldout'; it has train; choose .* knob `split`"):
    records.open(tmp_path, "heldout")
