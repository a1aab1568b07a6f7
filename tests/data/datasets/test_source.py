"""Examples of published records by index: ids, what is left out, and the log."""

import logging as standard_logging

import pytest
from absl import logging

from cot_rm.data import bad_examples, datasets, pipeline

PAIR = {"question": "How many?", "chosen": "one", "rejected": "three", "image": "a.jpg"}


def test_repeated_ids_are_told_apart_by_a_number(folder):
  folder.media("a.jpg")
  records = [{**PAIR, "id": id} for id in ("7", "8", "7", "7", "8")]
  source = folder.open(records)
  assert [e.id for e in source] == ["7", "8", "7#2", "7#3", "8#2"]
  assert [source[i].id for i in (4, 0, -2)] == ["8#2", "7", "7#3"]


def test_ids_are_told_apart_over_the_files_of_a_set(folder):
  folder.media("a.jpg")
  for name in ("train-0.json", "train-1.json"):
    folder.write([{**PAIR, "id": "7"}], name)
  assert [e.id for e in datasets.open(folder.path, "train")] == ["7", "7#2"]


def test_a_record_without_an_id_is_called_after_its_place(folder):
  folder.media("a.jpg")
  assert [e.id for e in folder.open([PAIR, PAIR])] == ["train-0", "train-1"]


def test_bad_records_are_left_out_up_to_the_limit_and_named_above_it(folder):
  folder.media("a.jpg")
  records = [{**PAIR, "n": 0}, {**PAIR, "chosen": 5}, {**PAIR, "n": 2}, {**PAIR, "rejected": " "}]
  source = folder.open(records, max_bad=2)
  assert [e.id for e in source] == ["train-0", "train-2"]
  with pytest.raises(bad_examples.TooManyBad) as caught:
    folder.open(records, max_bad=1)
  message = str(caught.value)
  assert "2 of 4 examples cannot be used" in message and "config.data.max_bad" in message
  assert "train.json, record 1: the chosen answer must be text that is not blank, not 5" in message
  assert "train.json, record 3: the rejected answer must be text that is not blank" in message


def test_the_log_says_what_was_read_and_what_was_left_out(folder, caplog):
  folder.media("a.jpg")
  logging.use_absl_handler()
  records = [PAIR, {**PAIR, "rejected": "one"}, {**PAIR, "rejected": "one"}, {**PAIR, "chosen": 1}]
  with caplog.at_level(standard_logging.INFO):
    folder.open(records, max_bad=1)
  (said,) = [r.getMessage() for r in caplog.records if "read as" in r.getMessage()]
  assert "train.json: read as chosen_rejected (1 file, 4 records): 1 examples" in said
  assert "2  left out: both candidates are the same" in said
  assert "1  left out: bad records" in said


def test_a_missing_picture_is_found_when_the_example_is_read(folder):
  from cot_rm.schema import BadMedia

  source = folder.open([PAIR, PAIR])
  with pytest.raises(BadMedia, match="train.json, record 1, field 'image': no such file: .*a.jpg"):
    source[1]
  with pytest.raises(IndexError, match="no example 2 of 2"):
    source[2]


def test_a_source_feeds_the_input_pipeline(folder):
  folder.media("a.jpg")
  source = folder.open([{**PAIR, "id": str(i)} for i in range(9)], "a.parquet")
  (ids,) = pipeline.prompt_batches(source, lambda one: one.id, seed=0, batch=9, epochs=1)
  assert sorted(ids) == [str(i) for i in range(9)]


def test_the_log_says_how_many_examples_are_text_alone(folder, caplog):
  logging.use_absl_handler()
  with caplog.at_level(standard_logging.INFO):
    folder.open([PAIR, {**PAIR, "image": None}, {**PAIR, "image": ""}])
  (said,) = [r.getMessage() for r in caplog.records if "read as" in r.getMessage()]
  assert "2  about no picture and no video: text alone" in said
