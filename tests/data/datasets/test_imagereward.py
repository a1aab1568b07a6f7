"""ImageRewardDB: records of one prompt are compared."""

import pytest

from cot_rm.data import bad_examples, datasets
from cot_rm.records import parquet_file
from cot_rm.schema import BadMedia
from tests.published_sets import encoded, preferred


def records(ranks, prompt="p1"):
  return [
    {
      "image_path": f"images/train/train_1/{i}.webp",
      "prompt_id": prompt,
      "prompt": f"box of {prompt}",
      "rank": rank,
      "classification": "Abstract",
    }
    for i, rank in enumerate(ranks)
  ]


NAME = "images/train/train_1/train_1.json"


@pytest.mark.parametrize("mixed", [False, True])
def test_pairs_of_each_prompt(folder, mixed):
  folder.media(*(f"images/train/train_1/{i}.webp" for i in range(3)))
  first, second = records([1, 2, 3]), records([2, 2, 1], "p2")
  given = [r for two in zip(first, second, strict=True) for r in two] if mixed else first + second
  source = folder.open(given, NAME)
  by_id = {e.id: preferred(e)[-6:] for e in source}
  assert by_id == {
    "p1-0-1": "0.webp",
    "p1-0-2": "0.webp",
    "p1-1-2": "1.webp",
    "p2-0-2": "2.webp",
    "p2-1-2": "2.webp",
  }
  assert source.counts.left_out == {"tie": 1} and source.counts.records == 6
  assert {e.question for e in source} == {"box of p1", "box of p2"}


def test_the_best_and_the_worst_of_each_prompt(folder):
  folder.media(*(f"images/train/train_1/{i}.webp" for i in range(3)))
  (one,) = folder.open(records([2, 3, 1]), NAME, pairs="best_worst")
  assert preferred(one).endswith("2.webp") and one.id == "p1-1-2"


def test_a_prompt_with_its_ranking(folder):
  folder.media("0.webp", "1.webp", "2.webp")
  record = {"id": "x", "prompt": "a box", "generations": [f"{i}.webp" for i in range(3)]}
  source = folder.open([{**record, "ranking": [3, 1, 2]}])
  assert [preferred(e)[-6:] for e in source] == ["1.webp", "2.webp", "1.webp"]


def test_faults_are_named_and_single_pictures_left_out(folder):
  source = folder.open(records([1]) + records([1, 2], "p2"), NAME)
  assert len(source) == 1 and source.counts.left_out == {"one picture of its prompt": 1}
  with pytest.raises(bad_examples.TooManyBad, match="record 0: field 'rank' must be a number"):
    folder.open(records(["x", 2]), NAME)


@pytest.mark.parametrize("wrong", [{"rank": "x"}, {"image_path": None}, {"prompt": " "}])
def test_a_bad_record_is_named_and_the_others_of_its_prompt_are_compared(folder, wrong):
  folder.media(*(f"images/train/train_1/{i}.webp" for i in range(3)))
  given = records([1, 2, 3])
  given[1] |= wrong
  (one,) = folder.open(given, NAME, max_bad=1)
  assert preferred(one).endswith("0.webp") and one.id == "p1-0-1"
  (fault,) = datasets.what_was_found(folder.open(given, NAME, max_bad=1)).bad
  assert f"record 1, field {[*wrong][0]!r}" in fault.replace(":", ",").replace(",,", ",")


def test_a_missing_picture_is_named_by_its_own_record(folder):
  folder.media("images/train/train_1/0.webp", "images/train/train_1/2.webp")
  source = folder.open(records([1, 2, 3]), NAME)
  for index in (0, 2):  # of the pictures 0 and 1, and 1 and 2
    with pytest.raises(BadMedia, match="record 1, field 'image_path': no such file"):
      source[index]
  assert preferred(source[1]).endswith("0.webp")


def test_pictures_in_the_records_are_not_read_when_a_set_is_opened(folder, monkeypatch):
  first, second = records([1, 2]), records([2, 1], "p2")
  given = [{**r, "image": {"bytes": encoded(), "path": None}} for r in first + second]
  path = folder.write([given[i] for i in (0, 2, 3, 1)], "train.parquet")
  read = parquet_file.ParquetFile.read
  monkeypatch.setattr(parquet_file.ParquetFile, "read", None)
  source = datasets.open(path, "train")
  monkeypatch.setattr(parquet_file.ParquetFile, "read", read)
  assert [e.id for e in source] == ["p2-0-1", "p1-0-1"]
  assert [preferred(e) for e in source] == [encoded()] * 2


def test_records_of_one_number_with_other_prompts_are_not_compared(folder):
  first, second = records([1]), records([2])
  second[0]["prompt"] = "another box"
  with pytest.raises(ValueError, match="2 left out: one picture of its prompt"):
    folder.open(first + second, NAME)


def test_a_prompt_of_hundreds_of_pictures(folder):
  assert len(folder.open(records([*range(300)]), NAME)) == 300 * 299 // 2


def test_numbers_may_be_text_and_ids_may_be_numbers(folder):
  folder.media("0.jpg", "1.jpg")
  for rank, id in ((str, 7), (int, "7"), (float, 7.0)):
    records = [
      {"prompt_id": id, "prompt": "a box", "image_path": f"{i}.jpg", "rank": rank(2 - i)}
      for i in range(2)
    ]
    (one,) = folder.open(records)
    assert preferred(one).endswith("1.jpg") and one.id == "7-0-1"
