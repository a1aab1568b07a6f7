"""Sequences of records: several files, subsets, places."""

import numpy as np
import pytest

from cot_rm.records import json_file, parts


@pytest.fixture
def files(tmp_path):
  for name, numbers in (("a", (1, 2, 3)), ("b", ()), ("c", (4, 5))):
    (tmp_path / f"{name}.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in numbers))
  return [json_file.JsonFile(tmp_path / f"{name}.jsonl") for name in "abc"]


def test_several_files_are_one_sequence(files):
  records = parts.Records(files)
  assert len(records) == 5
  assert [records[i]["n"] for i in (0, 2, 3, 4, -1, -5)] == [1, 3, 4, 5, 5, 1]
  assert [record["n"] for record in records] == [1, 2, 3, 4, 5]
  assert records.where(3).endswith("c.jsonl, line 1")
  with pytest.raises(IndexError, match="no element 5 of 5"):
    records[5]


def test_a_subset_keeps_the_places_of_its_records(files):
  subset = parts.Subset(files[0], np.array([2, 0]))
  assert [record["n"] for record in subset] == [record["n"] for record in subset.skim()] == [3, 1]
  assert subset.where(0).endswith("a.jsonl, line 3")
  assert len(parts.Records([])) == 0
