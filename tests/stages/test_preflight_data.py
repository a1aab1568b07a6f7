"""Examples measured before a stage: true lengths, measured once, never stale."""

import dataclasses
import os

import pytest
from etils import epath

from cot_rm import prompts
from cot_rm.data import array_record, datasets
from cot_rm.models.qwen2_5_vl import Processor
from cot_rm.schema import Media
from cot_rm.stages import preflight_data
from tests.stages.pairs import as_folder, as_jsonl, pairs, spoilt


@pytest.fixture
def how(tiny_folder):
  return preflight_data.Measure("brief", str(tiny_folder), {}, swapped=True)


@pytest.fixture
def measured(monkeypatch):
  """Lists the ids that were measured."""
  ids, real = [], preflight_data._Measurer._lengths

  def lengths(self, example):
    ids.append(example.id)
    return real(self, example)

  monkeypatch.setattr(preflight_data._Measurer, "_lengths", lengths)
  return ids


def measure(tmp_path, source, how):
  return preflight_data.measure(epath.Path(tmp_path), source, how, name="some")


def test_a_prompt_that_is_another_pair_s_too_is_marked(tmp_path, how):
  given = [pair for pair in pairs(20) if pair.task == "image_understanding"][:2]
  assert len(given) == 2
  given[1] = dataclasses.replace(given[1], responses=("a\nAnswer 2: b", "c"))
  assert [row.ambiguous for row in measure(tmp_path, given, how)] == [False, True]
  escaped = dataclasses.replace(how, grammar="brief:escaped")
  assert not any(row.ambiguous for row in measure(tmp_path, given, escaped))


def in_files(folder, examples):
  """The examples with their pictures in files."""
  folder.mkdir(exist_ok=True)
  out = []
  for example in examples:
    media = []
    for i, medium in enumerate(example.media):
      path = folder / f"{example.id}-{i}.png"
      path.write_bytes(medium.source)
      media.append(Media("image", str(path)))
    out.append(dataclasses.replace(example, media=tuple(media)))
  return out


def test_lengths_are_those_of_the_encoded_prompts(tmp_path, tiny_folder, how):
  given = pairs(5, reasoning=True)
  processor, grammar = Processor.load(tiny_folder), prompts.get("brief")
  for row, example in zip(measure(tmp_path, given, how), given, strict=True):
    both = [processor(grammar.render(e), id=example.id) for e in (example, example.swapped())]
    assert row.tokens == max(len(one.tokens) for one in both)
    assert row.patches == max(len(one.patches) for one in both)
    assert row.reference == len(processor.encode(example.reasoning)) + 1
    assert (row.id, row.task, row.gold) == (example.id, example.task, example.gold)
    assert row.verdict == example.gold and row.fault == ""


def test_a_second_look_measures_nothing(tmp_path, how, measured):
  given = pairs(4)
  first = measure(tmp_path, given, how)
  assert sorted(measured) == ["p-0", "p-1", "p-2", "p-3"]
  assert measure(tmp_path, given, how) == first and len(measured) == 4


def test_a_changed_record_is_measured_again_and_no_other(tmp_path, how, measured):
  given = pairs(4)
  measure(tmp_path, given, how)
  measured.clear()
  given[2] = dataclasses.replace(given[2], question="a large red star")
  rows = measure(tmp_path, given, how)
  assert measured == ["p-2"] and [row.id for row in rows] == ["p-0", "p-1", "p-2", "p-3"]


def test_a_changed_picture_is_measured_again_though_its_name_size_and_time_are_the_same(
  tmp_path, how, measured
):
  given = in_files(tmp_path / "pictures", pairs(3))
  assert not any(row.fault for row in measure(tmp_path, given, how))
  measured.clear()
  path = given[1].media[0].source
  state = os.stat(path)
  with open(path, "r+b") as file:
    file.write(b"none")
  os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
  assert os.stat(path).st_size == state.st_size
  rows = measure(tmp_path, given, how)
  assert measured == ["p-1"] and rows[1].kind == "media" and "example 'p-1'" in rows[1].fault
  os.remove(path)
  assert measure(tmp_path, given, how)[1].kind == "media"


def test_another_processor_or_grammar_measures_all_again(tmp_path, tiny_folder, how, measured):
  given = pairs(2)
  measure(tmp_path, given, how)
  for other in (
    dataclasses.replace(how, grammar="think"),
    dataclasses.replace(how, processor={"max_pixels": 84 * 84}),
    dataclasses.replace(how, swapped=False),
  ):
    measured.clear()
    measure(tmp_path, given, other)
    assert len(measured) == 2


def test_a_folder_of_examples_is_not_even_read_a_second_time(tmp_path, how, monkeypatch):
  source = datasets.open(as_folder(tmp_path / "data", pairs(4)), "train")
  first = measure(tmp_path, source, how)
  with monkeypatch.context() as patch:
    patch.setattr(array_record.Split, "__getitem__", lambda *_: pytest.fail("read"))
    assert measure(tmp_path, source, how) == first


def test_another_folder_under_the_name_is_read(tmp_path, how):
  rows = [
    measure(tmp_path, datasets.open(as_folder(tmp_path / name, examples), "train"), how)
    for name, examples in (("a", pairs(3)), ("b", pairs(4)))
  ]
  assert [*map(len, rows)] == [3, 4]


def test_bad_examples_have_their_kind_and_words(tmp_path, how):
  given = pairs(3)
  given[1] = spoilt(given[1])
  source = datasets.open(as_jsonl(tmp_path / "x.jsonl", given), "")
  good, bad, _ = measure(tmp_path, source, how)
  assert good.fault == "" and bad.kind == "media" and bad.fault.startswith("example 'p-1'")


def test_without_a_processor_media_are_still_opened(tmp_path, how):
  given = pairs(2)
  given[1] = spoilt(given[1])
  good, bad = measure(tmp_path, given, dataclasses.replace(how, folder=None))
  assert good.tokens == 0 and good.fault == "" and bad.kind == "media"


def test_a_file_of_results_that_was_cut_short_is_made_again(tmp_path, how):
  given = pairs(2)
  first = measure(tmp_path, given, how)
  (path,) = (tmp_path / "preflight").iterdir()
  for content in (path.read_bytes()[:40], b"", b"nothing"):
    path.write_bytes(content)
    assert measure(tmp_path, given, how) == first


def test_repeated_ids_name_both_places():
  rows = [row._replace(id="a") for row in [preflight_data._bad("", ValueError("x"))] * 3]
  assert [*preflight_data.repeated(rows)] == [1, 2]
  assert "example 1 and example 3" in preflight_data.repeated(rows)[2][1]
