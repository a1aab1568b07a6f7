"""Names before paths, and layouts that are recognised by their fields."""

import pathlib

import pytest

from cot_rm.data import datasets
from cot_rm.data.datasets import opening

PAIR = {"question": "How many?", "chosen": "one", "rejected": "three"}


def test_a_name_before_the_path_gives_the_layout(folder, tmp_path):
  path = str(folder.write([PAIR]))
  parse = lambda spec: opening.parse(spec, datasets.ADAPTERS)
  assert parse(f"trl:{path}") == ("trl", path) and parse(path) == ("", path)
  assert parse("trl:gone.json") == ("trl", "gone.json")
  for spec in ("C:\\data\\a.json", "gs://bucket/a.json", "no_layout:gone.json"):
    assert parse(spec) == ("", spec)
  with pytest.raises(ValueError, match="unknown layout 'tlr'; did you mean 'trl'"):
    parse(f"tlr:{path}")


def test_a_colon_in_a_path_that_exists_is_no_name(folder):
  path = str(folder.write([PAIR], "trl:1/a.json"))
  assert opening.parse(path, datasets.ADAPTERS) == ("", path)
  assert len(datasets.open(path, "train")) == 1


def test_an_unknown_layout_is_named_with_its_fields_and_the_known_names(folder):
  path = folder.write([{"foo": 1, "bar": "x"}])
  with pytest.raises(ValueError) as caught:
    datasets.open(path, "train")
  assert "train.json has no known layout; its fields are foo, bar;" in str(caught.value)
  assert "known: cot_rm, rlaif_v" in str(caught.value)


def test_a_layout_that_may_be_one_of_two_is_asked_for(folder):
  record = {**PAIR, "image": "a.jpg", "caption": "x", "jpg_0": "a.jpg", "jpg_1": "b.jpg"}
  path = folder.write([{**record, "label_0": 1}])
  with pytest.raises(ValueError, match="train.json may be .*pickapic"):
    datasets.open(path, "train")
  folder.media("a.jpg", "b.jpg")
  assert datasets.open(f"pickapic:{path}", "train")[0].task == "image_generation"


def test_the_layout_is_that_of_most_of_the_first_records(folder):
  records = [{"foo": 1}, PAIR, {"text": "x"}, PAIR]
  path = folder.write(records)
  (part,) = opening.records.open(path).parts
  assert opening.recognised(part, datasets.ADAPTERS) == "chosen_rejected"


def test_a_file_without_a_readable_record_is_named(folder, tmp_path):
  (tmp_path / "a.jsonl").write_text("{nope}\n")
  with pytest.raises(ValueError, match="no record of .*a.jsonl can be read: .*line 1: not JSON"):
    datasets.open(tmp_path / "a.jsonl", "train")


def test_every_layout_is_recognised_as_itself_by_its_first_name():
  modules = {}
  for name, module in datasets.ADAPTERS.items():
    assert pathlib.Path(module.__file__).stem in (name, "ours") or module in modules.values()
    modules.setdefault(name, module)
