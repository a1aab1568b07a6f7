"""Pairs of public benchmarks as their owners publish them, opened by the stage."""

import logging

import pytest

from cot_rm import schema
from cot_rm.benchmarks import multimodal_rewardbench, pairs
from cot_rm.data import bad_examples
from cot_rm.stages import benchmark_pairs
from tests.published_sets import CHOSEN, QUESTION, REJECTED, Folder

RECORD = {"Category": "vqa", "Text": QUESTION, "Output1": CHOSEN, "Output2": REJECTED}


@pytest.fixture
def folder(workdir):
  return Folder(workdir / "bench")


@pytest.fixture
def opened(workdir, config):
  """(name of the benchmark) -> its pairs in the folder `bench`."""

  def open_them(name):
    config.eval.benchmark, config.eval.data = name, "bench"
    return benchmark_pairs.open_pairs(config, workdir, config.eval, "eval")

  return open_them


def multimodal(folder, *changes):
  """all_data.json with a record per change."""
  folder.media("images/1.png")
  records = [
    {**RECORD, "ID": f"RealworldQA-{i}", "Image": "images/1.png", "Better": "Output1", **change}
    for i, change in enumerate(changes)
  ]
  folder.write(records, "all_data.json")


def test_the_stored_order_and_the_labels_are_kept(folder, opened):
  multimodal(folder, {}, {"Better": "Output2"})
  folder.write([{"question": "of another file"}], "original_data/nocaps.json")  # beside it
  one, two = opened("multimodal_rewardbench")
  assert one.responses == two.responses == (CHOSEN, REJECTED)
  assert (one.gold, two.gold, one.id) == (1, 2, "RealworldQA-0")
  assert one.media[0].source.endswith("images/1.png")


def test_a_folder_without_the_files_says_what_has_to_be_downloaded(folder, opened):
  folder.media("images/1.png")
  with pytest.raises(FileNotFoundError, match="made by its owners' scripts/0_download_data.py"):
    opened("multimodal_rewardbench")


def test_a_number_of_pairs_that_is_not_known_is_said(folder, opened, caplog):
  multimodal(folder, {})
  with caplog.at_level(logging.WARNING):
    opened("multimodal_rewardbench")
  assert "found 1 pairs; known are 4,711 (without Hateful Memes), 5,211 (complete)" in caplog.text


def test_repeated_ids_are_said_by_name(folder, opened, caplog):
  multimodal(folder, {}, {"ID": "RealworldQA-0"}, {"ID": "RealworldQA-0"})
  with caplog.at_level(logging.WARNING):
    found = opened("multimodal_rewardbench")
  assert "2 pairs have an id that another pair has" in caplog.text
  assert "the first: RealworldQA-0, RealworldQA-0" in caplog.text
  assert [e.id for e in found] == ["RealworldQA-0", "RealworldQA-0#2", "RealworldQA-0#3"]


def test_a_missing_picture_is_named_by_its_record(folder, opened):
  multimodal(folder, {}, {"Image": "images/2.png"})
  found = opened("multimodal_rewardbench")
  with pytest.raises(schema.BadMedia, match="record 1, field 'Image': no such file.*images/2.png"):
    found[1]


@pytest.mark.parametrize(
  "change, message",
  [
    ({"Output1": None}, "'Output1' is missing"),
    ({"Better": "A"}, "'Better' must be Output1 or Output2, not 'A'"),
    ({"Text": None}, "'Text' is missing"),  # all_data_release.json, before the owners' script
  ],
)
def test_another_schema_is_named_by_its_field(folder, opened, change, message):
  multimodal(folder, change)
  with pytest.raises(bad_examples.TooManyBad, match=message):
    opened("multimodal_rewardbench")


def test_pairs_without_a_group_are_found_before_a_model_is_trained(folder, opened):
  multimodal(folder, {"Category": None})
  with pytest.raises(schema.BadRecord, match="'RealworldQA-0': field 'Category' must be text"):
    opened("multimodal_rewardbench")


def test_pairs_called_equal_are_usable_and_pairs_without_a_label_are_not(tmp_path):
  made = lambda id, gold, **extra: schema.Example(id, "s", "image_generation", "q", (), (), gold)
  equal = schema.Example("c", "s", "image_generation", "q", extra={"tie": True})
  source = [made("a", 1), made("b", None), equal]
  skips = bad_examples.Skips(tmp_path, limit=1)
  found = benchmark_pairs.usable(source, pairs.MODES["both"], skips)
  assert [e.id for e in found] == ["a", "c"] and "b" in skips and len(skips) == 1
  with pytest.raises(ValueError, match="none of 1 pairs has a gold answer"):
    benchmark_pairs.usable([equal], pairs.MODES["both"], skips)


def test_a_pair_that_cannot_be_grouped_is_left_out(tmp_path):
  ungrouped = schema.Example("a", "s", "image_understanding", "q", gold=1)
  skips = bad_examples.Skips(tmp_path, limit=0)
  with pytest.raises(bad_examples.TooManyBad, match="'a': field 'Category'"):
    benchmark_pairs.usable([ungrouped], multimodal_rewardbench.MODES["both"], skips)
