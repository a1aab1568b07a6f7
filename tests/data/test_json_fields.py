"""Fields of JSON records: values, and errors that name their place."""

import pytest

from cot_rm.data.json_fields import Field

RECORD = Field({"n": 3, "b": True, "none": None, "list": [{"key": "x"}, 4]}, "f.jsonl, line 2")


def test_a_field_is_found_by_key_and_index():
  assert RECORD.get("n").of_type(int) == 3
  assert RECORD.get("list").items()[0].get("key").text() == "x"
  assert RECORD.get("list").items()[0].get("key").path == "list[0].key"


def test_a_missing_or_null_field_takes_its_default():
  assert RECORD.get("none").optional(int, 7) == RECORD.get("gone").optional(int, 7) == 7
  assert RECORD.get("gone").optional(str) is None


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: RECORD.get("gone").of_type(int), "f.jsonl, line 2: field 'gone' is missing"),
    (lambda: RECORD.get("b").of_type(int), "line 2, field 'b': must be a whole number, not bool"),
    (lambda: RECORD.get("n").text(), "field 'n': must be a string, not int"),
    (lambda: RECORD.get("n").get("x"), "field 'n': must be an object, not int"),
    (lambda: RECORD.get("list").items()[1].get("x"), r"field 'list\[1\]': must be an object"),
    (lambda: RECORD.check_keys(("nn", "b")), "line 2: unknown key 'n'; did you mean 'nn'?"),
    (lambda: RECORD.exactly_one("n", "b"), "line 2: must have either 'n' or 'b'"),
    (lambda: RECORD.exactly_one("x", "y"), "line 2: must have either 'x' or 'y'"),
  ],
)
def test_an_error_names_the_file_the_line_and_the_field(call, message):
  with pytest.raises(ValueError, match=message):
    call()
