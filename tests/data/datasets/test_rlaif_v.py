"""RLAIF-V's rows, and RLHF-V's, whose texts are JSON."""

import json

import pytest

from cot_rm.data import bad_examples
from tests.published_sets import CHOSEN, QUESTION, REJECTED, encoded, preferred

ROW = {
  "ds_name": "RLAIF-V",
  "image": {"bytes": encoded(), "path": "a.jpg"},
  "origin_dataset": "VQAv2",
  "origin_split": '{"model": "x"}',
  "image_path": "a.jpg",
}
TEXTS = {"question": QUESTION, "chosen": CHOSEN, "rejected": REJECTED}


def test_rlaif_v(folder):
  source = folder.open([{**ROW, **TEXTS, "idx": i % 4} for i in range(5)], "set_000.parquet")
  assert [e.id for e in source] == ["0", "1", "2", "3", "0#2"]
  assert all(preferred(e) == CHOSEN and e.question == QUESTION for e in source)
  assert {e.source for e in source} == {"RLAIF-V"} and source[4].media[0].source == encoded()
  assert source[0].extra == {"origin_dataset": "VQAv2"}


def test_rlhf_v(folder):
  records = [{**ROW, "idx": i, "text": json.dumps(TEXTS)} for i in range(2)]
  records[1] |= dict.fromkeys(TEXTS)  # beside RLAIF-V's in one file
  one, two = folder.open(records, "set.parquet")
  assert (one.question, preferred(one), one.id, two.id) == (QUESTION, CHOSEN, "0", "1")


@pytest.mark.parametrize(
  "text, message",
  [
    ("{nope", "field 'text': no JSON"),
    ("[1]", "field 'text' must hold question"),
    ('{"question": "?"}', "field 'chosen' must be text, not None"),
  ],
)
def test_rows_without_texts_are_bad_records(folder, text, message):
  with pytest.raises(bad_examples.TooManyBad, match=f"set.parquet, row 0: {message}"):
    folder.open([{**ROW, "text": text}], "set.parquet")
