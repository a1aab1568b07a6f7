"""Pairs of public benchmarks as their owners publish them, opened by the stage."""

import logging

import pytest

from cot_rm import benchmarks, schema
from cot_rm.benchmarks import multimodal_rewardbench, pairs
from cot_rm.data import bad_examples, datasets
from cot_rm.stages import benchmark_pairs, common
from tests.published_sets import CHOSEN, QUESTION, REJECTED, Folder, encoded, preferred

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


def test_one_pair_without_a_group_costs_its_own_pair(folder, opened, workdir, config):
  multimodal(folder, {"Category": None}, {})
  config.data.max_bad = 1
  skips = common.open_skips(config, workdir, "eval")
  found = benchmark_pairs.usable(
    opened("multimodal_rewardbench"), multimodal_rewardbench.MODES["both"], skips
  )
  assert [e.id for e in found] == ["RealworldQA-1"]


GENERATED = {"prompt": "a box"}
CSV = "path_A,path_B,A_model,B_model,prompt,VQ,MQ,TA,Overall\n"


def test_genai_bench_s_votes_are_read_in_the_published_order_with_ties(folder, opened):
  votes = ("rightvote", "leftvote", "tievote", "bothbad_vote")
  side = lambda color: {"bytes": encoded(color), "path": None}
  records = [
    {**GENERATED, "left_image": side("red"), "right_image": side("blue"), "vote_type": vote}
    for vote in votes
  ]
  folder.write(records[:2], "test-00000-of-00002.parquet")
  folder.write(records[2:], "test-00001-of-00002.parquet")
  folder.write(records[2:], "test_v1-00000-of-00001.parquet")  # another split
  found = opened("genai_bench")
  assert [(e.gold, e.tie) for e in found] == [(2, False), (1, False), (None, True), (None, True)]
  assert all(e.media[0].source == encoded("red") for e in found)


def test_genai_bench_s_local_videos_are_read(folder, opened, workdir):
  folder.media("0.mp4", "1.mp4")
  record = {**GENERATED, "video_left": "0.mp4", "video_right": "1.mp4", "vote_type": "leftvote"}
  folder.write([{"id": 7, **record}], "data.json")
  (one,) = opened("genai_bench")
  assert (one.id, one.task, one.gold) == ("7", "video_generation", 1)
  assert one.media[0].source.endswith("0.mp4")


def test_videogen_rewardbench_s_table_is_read_with_a_first(folder, opened):
  folder.media("videos/a.mp4", "videos/b.mp4")
  labels = ("B", "same", "A")
  rows = [f"videos/a.mp4,videos/b.mp4,a,b,a box,A,A,A,{label}\n" for label in labels]
  (folder.path / "videogen-rewardbench.csv").write_text(CSV + "".join(rows))
  found = opened("videogen_rewardbench")
  assert [(e.gold, e.tie) for e in found] == [(2, False), (None, True), (1, False)]
  assert all(e.media[0].source.endswith("a.mp4") for e in found)


def test_held_out_pairs_of_sharegptvideo_are_read(folder, opened):
  folder.media("videos/clip/0.jpg", "videos/clip/1.jpg")
  record = {"video": "clip", "prompt": f"<video>\n{QUESTION}"}
  folder.write([{"id": "a", **record, "chosen": CHOSEN, "rejected": REJECTED}], "test.jsonl")
  (one,) = opened("sharegptvideo")
  assert (preferred(one), one.task, one.question) == (CHOSEN, "video_understanding", QUESTION)
  assert one.extra["video"] == "clip" and one.media[0].source.endswith("videos/clip")


@pytest.mark.parametrize(
  "name, message",
  [
    ("genai_bench", "a folder of TIGER-Lab/GenAI-Bench, image_generation or video_generation"),
    ("videogen_rewardbench", "the folder videos/, unpacked, of KwaiVGI/VideoGen-RewardBench"),
    ("sharegptvideo", "held-out records of ShareGPTVideo-DPO"),
  ],
)
def test_what_has_to_be_downloaded_is_said(folder, opened, name, message):
  folder.media("a.png")
  with pytest.raises(FileNotFoundError, match=f"{message}.*holds none of .*config.eval.data"):
    opened(name)


@pytest.mark.parametrize("benchmark", benchmarks.BY_LAYOUT.values())
def test_every_layout_of_a_benchmark_is_known(benchmark):
  assert benchmark.LAYOUT in datasets.ADAPTERS


def test_no_seed_draws_the_order_of_a_benchmark_that_has_one(folder, opened, config):
  folder.media("0.mp4", "1.mp4")
  record = {**GENERATED, "video_left": "0.mp4", "video_right": "1.mp4", "vote_type": "leftvote"}
  folder.write([{"id": i, **record} for i in range(8)], "data.json")
  multimodal(folder, *({} for _ in range(8)))
  for config.seed in range(3):
    assert all(e.media[0].source.endswith("0.mp4") for e in opened("genai_bench"))
    assert all(e.responses == (CHOSEN, REJECTED) for e in opened("multimodal_rewardbench"))


def test_a_layout_that_is_named_before_the_path_is_no_fault(folder, config, workdir):
  multimodal(folder, {})
  config.eval.benchmark = "multimodal_rewardbench"
  config.eval.data = f"reward_benchmarks:{folder.path}"
  assert len(benchmark_pairs.open_pairs(config, workdir, config.eval, "eval")) == 1


def test_pairs_called_equal_are_usable_and_pairs_without_a_label_are_not(tmp_path):
  made = lambda id, gold, **extra: schema.Example(id, "s", "image_generation", "q", (), (), gold)
  equal = schema.Example("c", "s", "image_generation", "q", extra={"tie": True})
  source = [made("a", 1), made("b", None), equal]
  skips = bad_examples.Skips(tmp_path, limit=1)
  found = benchmark_pairs.usable(source, pairs.MODES["both"], skips)
  assert [e.id for e in found] == ["a", "c"] and "b" in skips and len(skips) == 1
  with pytest.raises(ValueError, match="none of 1 pairs has a gold answer"):
    benchmark_pairs.usable([equal], pairs.MODES["both"], skips)
  none = bad_examples.Skips(tmp_path / "none", limit=0)  # which lists nothing that could be read
  with pytest.raises(ValueError, match="gold answer: people call all of them equal"):
    benchmark_pairs.usable([equal], pairs.MODES["both"], none)


def test_a_pair_that_cannot_be_grouped_is_left_out(tmp_path):
  ungrouped = schema.Example("a", "s", "image_understanding", "q", gold=1)
  skips = bad_examples.Skips(tmp_path, limit=0)
  with pytest.raises(bad_examples.TooManyBad, match="'a': field 'Category'"):
    benchmark_pairs.usable([ungrouped], multimodal_rewardbench.MODES["both"], skips)
