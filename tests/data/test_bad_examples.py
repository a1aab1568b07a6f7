"""Examples that are left out: counted once, written down, bounded by the knob."""

import json
from concurrent import futures

import pytest

from cot_rm.data import bad_examples
from cot_rm.schema import BadExample, BadMedia, BadRecord


def lines(skips):
  return [json.loads(line) for line in skips.path.read_text().splitlines()]


def test_an_example_is_counted_once_and_written_once(tmp_path):
  skips = bad_examples.Skips(tmp_path / "sft", limit=3)
  skips.add("a", BadMedia("example 'a': no picture"))
  skips.add("b", BadRecord("x.jsonl, line 2: not JSON"))
  skips.add("a", BadMedia("example 'a': no picture"))
  assert len(skips) == 2 and "a" in skips and "c" not in skips
  assert skips.kinds == {"media": 1, "record": 1}
  assert skips.metrics() == {"data/skipped": 2.0}
  assert skips.path == tmp_path / "sft" / "skipped.jsonl"
  assert lines(skips) == [
    {"id": "a", "reason": "example 'a': no picture"},
    {"id": "b", "reason": "x.jsonl, line 2: not JSON"},
  ]


def test_one_more_than_the_limit_names_the_examples_and_the_knob(tmp_path):
  skips = bad_examples.Skips(tmp_path, limit=1)
  skips.add("a", BadExample("example 'a': too long"))
  with pytest.raises(bad_examples.TooManyBad) as error:
    skips.add("b", BadExample("example 'b': too long"))
  text = str(error.value)
  assert "2 examples cannot be used, and config.data.max_bad allows 1" in text
  assert "example 'a': too long" in text and "example 'b': too long" in text
  assert "config.data.max_bad=2" in text
  assert not isinstance(error.value, BadExample)  # no stage may take it for one example's fault


def test_the_first_bad_example_ends_the_stage_where_none_is_allowed(tmp_path):
  with pytest.raises(bad_examples.TooManyBad, match="allows 0"):
    bad_examples.Skips(tmp_path, limit=0).add("a", BadExample("example 'a': too long"))


def test_a_long_list_is_cut_with_its_number():
  error = bad_examples.too_many([f"example {i}" for i in range(25)], 4, of=1000)
  assert "25 of 1,000 examples" in str(error) and "and 5 more" in str(error)
  assert "example 19" in str(error) and "example 20" not in str(error)


def test_where_every_example_is_bad_no_limit_is_advised():
  text = str(bad_examples.too_many(["example 0", "example 1"], 2, of=2))
  assert text.startswith("none of 2 examples can be used:") and "example 1" in text
  assert bad_examples.KNOB not in text and "give other data" in text


def test_a_continued_run_counts_on_from_its_checkpoint(tmp_path):
  first = bad_examples.Skips(tmp_path, limit=2)
  first.add("a", BadMedia("example 'a': no picture"))
  state = json.loads(json.dumps(first.get_state()))
  second = bad_examples.Skips(tmp_path, limit=2)
  second.set_state(state)
  second.add("a", BadMedia("example 'a': no picture"))
  second.add("b", BadMedia("example 'b': no picture"))
  assert second.kinds == {"media": 2}
  assert [line["id"] for line in lines(second)] == ["a", "b"]
  with pytest.raises(bad_examples.TooManyBad):
    second.add("c", BadMedia("example 'c': no picture"))


def test_a_run_that_goes_on_with_a_lower_limit_than_it_has_left_out_says_so(tmp_path):
  first = bad_examples.Skips(tmp_path, limit=2)
  first.add("a", BadMedia("example 'a': no picture"))
  first.add("b", BadMedia("example 'b': no picture"))
  bad_examples.Skips(tmp_path, limit=2).set_state(first.get_state())
  with pytest.raises(bad_examples.TooManyBad, match="2 examples .* allows 1(?s:.*)max_bad=2"):
    bad_examples.Skips(tmp_path, limit=1).set_state(first.get_state())


def test_several_threads_count_each_example_once(tmp_path):
  skips = bad_examples.Skips(tmp_path, limit=100)
  with futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda i: skips.add(str(i % 50), BadExample(f"example {i % 50}")), range(400)))
  assert len(skips) == len(lines(skips)) == 50


def test_each_process_writes_into_a_file_of_its_own(tmp_path):
  assert bad_examples.Skips(tmp_path, limit=0, process_index=2).path.name == "skipped.2.jsonl"


def test_a_negative_limit_is_refused(tmp_path):
  with pytest.raises(ValueError, match="config.data.max_bad is -1"):
    bad_examples.Skips(tmp_path, limit=-1)


def test_counts_are_said_in_words():
  assert bad_examples.describe({"record": 1, "media": 2}) == "2 media, 1 record"
  assert bad_examples.describe({}) == ""
