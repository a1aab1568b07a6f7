"""Pairs that mix texts and media go through import, preflight, eval and the report."""

import json
import pathlib
import shutil
import types

import numpy as np
import PIL.Image
import pytest

from cot_rm import judge
from cot_rm.data import array_record, datasets, jsonl
from cot_rm.schema import Completion, Example, Media, Verdict
from cot_rm.stages import eval as eval_stage
from tests.media.media_files import encoded
from tests.stages.pairs import pairs

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks" / "fixtures"


def picture(colour):
  return Media("image", encoded(PIL.Image.new("RGB", (56, 56), colour)))


@pytest.fixture
def mixtures():
  """Edits, and answers with pictures, in words that the tiny model knows."""
  out = []
  for number, pair in enumerate(pairs(4)):
    words = pair.question
    red, blue, first = picture("red"), picture("blue"), pair.media[0]
    if number % 2:
      made = Example.mixed([first, words], red, blue, id=pair.id, gold=pair.gold)
    else:
      made = Example.mixed(words, [red, words], [words, blue], id=pair.id, gold=pair.gold)
    out.append(made)
  return out


def run(config, workdir, data):
  config.eval.data, config.eval.split, config.eval.pairs = str(data), "train", 4
  config.eval.votes, config.eval.vote_pairs, config.eval.vote_at = 0, 0, (1,)
  checks = eval_stage.preflight(config, workdir, "eval")
  assert not checks.faults
  eval_stage.run(config, workdir, "eval")
  lines = (workdir / "eval" / "sft" / "judgements.jsonl").read_text().splitlines()
  found = json.loads((workdir / "summary.json").read_text())["stages"]["sft"]
  return found, [json.loads(line) for line in lines]


def test_a_model_judges_mixtures_of_a_file_and_of_a_store_alike(workdir, config, mixtures):
  jsonl.write(workdir / "pairs.jsonl", mixtures)
  array_record.write(workdir / "pairs", {"train": mixtures})
  assert list(datasets.open(str(workdir / "pairs"), "train")) == list(
    datasets.open(str(workdir / "pairs.jsonl"), "train")
  )
  found, lines = run(config, workdir, workdir / "pairs.jsonl")
  assert found["n"] == 4 and len(lines) == 8 and "blank_accuracy" in found
  assert "not_judged" not in found
  page = (workdir / "report.html").read_text()
  assert page.count('class="mixed question"') == config.eval.samples
  shutil.rmtree(workdir / "eval")
  again, stored = run(config, workdir, workdir / "pairs")
  texts = [{key: one[key] for key in ("id", "order", "text", "hash")} for one in lines]
  assert texts == [{key: one[key] for key in ("id", "order", "text", "hash")} for one in stored]
  assert again["accuracy"] == found["accuracy"]


def test_mmrb2_is_scored_in_both_modes_from_the_same_answers(workdir, config, monkeypatch):
  """A judge that always takes the first is right half the time; the plain one has no verdict."""
  folder = workdir / "bench"
  shutil.copytree(BENCHMARKS / "mmrb2", folder)
  for path in folder.glob("*.json"):
    for name in {part for part in path.read_text().split('"') if part.endswith(".jpg")}:
      (folder / name).parent.mkdir(exist_ok=True)
      (folder / name).write_bytes(picture("red").source)
  asked = []

  def answered(examples, *, n, progress, **_):
    asked.extend(examples)
    progress(len(examples))
    made = Completion("so it is", np.zeros(3, np.int32), np.zeros(3), "stop")
    said = [Verdict(1 if e.places else None, probability=0.9) for e in examples]
    return [
      judge.Judgement(e, None, (made,) * n, (verdict,) * n)
      for e, verdict in zip(examples, said, strict=True)
    ]

  stub = types.SimpleNamespace(judge_usable=answered)
  monkeypatch.setattr(judge, "load", lambda *_, **__: stub)
  config.eval.benchmark, config.eval.data, config.eval.blank_pairs = "mmrb2", str(folder), 0
  eval_stage.run(config, workdir, "eval")
  found = json.loads((workdir / "summary.json").read_text())["stages"]["sft"]
  assert len(asked) == 16 and found["n"] == 8
  assert found["families"] == {"edit": 0.5, "interleaved": 0.5, "reasoning": 0.25, "t2i": 0}
  assert found["accuracy"] == found["accuracy_macro"] == 0.3125
  config.eval.mode = "official"
  eval_stage.run(config, workdir, "eval")
  found = json.loads((workdir / "summary.json").read_text())["stages"]["sft"]
  assert len(asked) == 16  # nothing is asked again
  assert found["families"] == {"edit": 0.5, "interleaved": 0.5, "reasoning": 0.5}
  assert found["accuracy"] == 0.5 and found["left_out"] == 6
  assert "Qwen3-VL-32B" in (workdir / "report.html").read_text()  # published, beside it
