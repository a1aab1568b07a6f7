"""Every stage treats a bad example alike: it is left out, counted and listed, up to the limit."""

import dataclasses
import json

import pytest

from cot_rm import metrics
from cot_rm.data import array_record, bad_examples, datasets
from cot_rm.schema import BadMedia
from cot_rm.stages import distill, judge, preflight, reject, rl, sft
from cot_rm.stages import eval as eval_stage
from tests.stages.pairs import as_jsonl, damaged, pairs, wordy


def listed(workdir, stage):
  lines = (workdir / stage / "skipped.jsonl").read_text().splitlines()
  return sorted(json.loads(line)["id"] for line in lines)


@pytest.fixture
def spoil(config, workdir):
  """`spoil(stage)`: its data get a pair whose damage no header shows; one may be left out."""

  def make(stage, count=8, **kinds):
    given = pairs(count, **kinds)
    given[3] = damaged(given[3])
    config[stage].data = as_jsonl(workdir / f"{stage}.jsonl", given)
    config.data.max_bad = 1
    config.stages = (stage,)
    return given

  return make


def test_sft_leaves_a_damaged_picture_out_and_says_so(config, workdir, spoil):
  spoil("sft", reasoning=True)
  (workdir / "sft" / "checkpoints").rmtree()
  assert preflight.of_stage(config, workdir, "sft", "sft").faults == []  # the header is right
  assert sft.run(config, workdir, "sft") == {"left_out": 1}
  assert listed(workdir, "sft") == ["p-3"]
  curves = metrics.read(workdir / "sft" / "metrics.jsonl")
  assert curves["data/skipped"][1][-1] == 1


def test_sft_ends_at_the_first_bad_example_where_none_may_be_left_out(config, workdir, spoil):
  spoil("sft", reasoning=True)
  (workdir / "sft" / "checkpoints").rmtree()
  config.data.max_bad = 0
  with pytest.raises(bad_examples.TooManyBad, match="example 'p-3'.*") as error:
    sft.run(config, workdir, "sft")
  assert "config.data.max_bad=1" in str(error.value)


def test_sft_counts_on_where_an_interrupted_run_left_off(config, workdir, spoil, monkeypatch):
  spoil("sft", count=5, reasoning=True)
  (workdir / "sft" / "checkpoints").rmtree()
  config.sft.steps = 2
  sft.run(config, workdir, "sft")
  config.sft.steps = 3
  made = []
  real = bad_examples.Skips.set_state
  monkeypatch.setattr(
    bad_examples.Skips, "set_state", lambda self, state: (made.append(state), real(self, state))
  )
  assert sft.run(config, workdir, "sft") == {"left_out": 1}
  assert [id for id, *_ in made[0]] == ["p-3"]


def test_references_that_contradict_are_dropped_by_the_knob(config, workdir, caplog):
  given = pairs(6, reasoning=True)
  given[2] = dataclasses.replace(given[2], gold=3 - given[2].gold)
  config.sft.data = as_jsonl(workdir / "some.jsonl", given)
  config.sft.contradicting = "drop"
  source = sft._source(config, workdir, config.sft, str(workdir / "world" / "model"))
  assert [e.id for e in source] == ["p-0", "p-1", "p-3", "p-4", "p-5"]
  config.sft.contradicting = "keep"
  assert len(sft._source(config, workdir, config.sft, str(workdir / "world" / "model"))) == 6


def test_rl_leaves_a_damaged_picture_out_and_says_so(config, workdir, spoil, rewarded):
  spoil("rl")
  config.rl.rollouts = 3
  assert rl.run(config, workdir, "rl") == {"left_out": 1}
  assert listed(workdir, "rl") == ["p-3"]
  assert metrics.read(workdir / "rl" / "metrics.jsonl")["data/skipped"][1][-1] == 1


def ids(folder, *splits):
  return sorted(e.id for split in splits for e in datasets.open(folder, split))


def test_reject_leaves_a_damaged_picture_out_of_both_splits_and_does_not_stumble_again(
  config, workdir, spoil, rewarded
):
  spoil("reject")
  figures = reject.run(config, workdir, "reject")
  assert figures["left_out"] == 1 and figures["pairs"] == 7
  assert ids(workdir / "reject" / "data", "kept", "hard") == [f"p-{i}" for i in range(8) if i != 3]
  assert listed(workdir, "reject") == ["p-3"]
  before = (workdir / "reject" / "samples.jsonl").read_text()
  assert reject.run(config, workdir, "reject")["left_out"] == 1
  assert (workdir / "reject" / "samples.jsonl").read_text() == before


def test_reject_goes_on_from_the_bad_example_that_ended_it_once_the_knob_allows_it(
  config, workdir, spoil, rewarded
):
  spoil("reject")
  config.data.max_bad = 0
  for _ in range(2):
    with pytest.raises(bad_examples.TooManyBad, match="config.data.max_bad=1"):
      reject.run(config, workdir, "reject")
  config.data.max_bad = 1
  assert reject.run(config, workdir, "reject")["pairs"] == 7


def test_distill_leaves_a_damaged_picture_out(config, workdir, spoil):
  spoil("distill")
  config.distill.teacher.update(error=0.0, unparsable=0.0, per_object=0.0, relation=0.0)
  figures = distill.run(config, workdir, "distill")
  assert figures["left_out"] == 1 and figures["pairs"] == 7
  assert listed(workdir, "distill") == ["p-3"]
  assert "p-3" not in ids(workdir / "distill" / "data", "kept")


def test_eval_counts_a_pair_that_cannot_be_judged_apart(config, workdir, spoil):
  spoil("eval")
  config.eval.models, config.eval.pairs = "sft", 8
  eval_stage.run(config, workdir, "eval")
  figures = json.loads((workdir / "summary.json").read_text())["stages"]["sft"]
  assert figures["n"] == 7 and figures["not_judged"] == 1
  assert figures["definitions"]["not_judged"]["n"] == 1
  assert figures["definitions"]["accuracy"]["n"] == 7
  assert listed(workdir, "eval") == ["p-3"]
  eval_stage.run(config, workdir, "eval")  # and nothing is asked again
  again = json.loads((workdir / "summary.json").read_text())["stages"]["sft"]
  assert again == figures


def test_eval_lists_records_that_were_left_out_when_they_were_opened(config, workdir):
  config.eval.data = as_jsonl(workdir / "pairs.jsonl", pairs(4))
  with (workdir / "pairs.jsonl").open("a") as file:
    file.write('{"id": "p-4", "question": ""}\n')
  config.data.max_bad, config.eval.models = 1, "sft"
  eval_stage.run(config, workdir, "eval")
  figures = json.loads((workdir / "summary.json").read_text())["stages"]["sft"]
  assert figures["n"] == 4 and figures["not_judged"] == 1
  assert json.loads((workdir / "eval" / "sft" / "card.json").read_text())["not_judged"] == 1
  assert "pairs.jsonl, line 5" in listed(workdir, "eval")[0]


def test_every_model_s_figures_count_the_unread_and_the_unasked_pairs(config, workdir, spoil):
  spoil("eval")
  with (workdir / "eval.jsonl").open("a") as file:
    file.write('{"id": "p-8", "question": ""}\n')
  config.data.max_bad, config.eval.pairs = 2, 8
  config.eval.models, config.eval.read = "sft", "text,direct"
  eval_stage.run(config, workdir, "eval")
  found = json.loads((workdir / "summary.json").read_text())["stages"]
  assert {name: (f["n"], f["not_judged"]) for name, f in found.items()} == {
    "sft": (7, 2),
    "sft--direct": (7, 2),
  }


def test_eval_leaves_out_pairs_without_gold(config, workdir, spoil):
  given = pairs(4)
  given[2] = dataclasses.replace(given[2], gold=None)
  config.eval.data = as_jsonl(workdir / "gold.jsonl", given)
  config.data.max_bad, config.eval.models = 1, "sft"
  eval_stage.run(config, workdir, "eval")
  assert json.loads((workdir / "summary.json").read_text())["stages"]["sft"]["n"] == 3
  assert listed(workdir, "eval") == ["p-2"]


def test_judge_writes_the_error_and_goes_on_up_to_the_limit(config, workdir, spoil):
  given = pairs(8)
  given[3] = damaged(given[3])
  config.judge.input = as_jsonl(workdir / "judge.jsonl", given)
  config.data.max_bad = 0
  for _ in range(2):
    with pytest.raises(bad_examples.TooManyBad, match="config.data.max_bad=1"):
      judge.run(config, workdir, "judge")
  config.data.max_bad = 1
  judge.run(config, workdir, "judge")
  lines = (workdir / "judge" / "verdicts.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  assert [record["row"] for record in records] == [*range(8)]
  assert ["error" in record for record in records] == [i == 3 for i in range(8)]


def test_a_mended_picture_is_judged_after_all(config, workdir):
  given = pairs(3)
  bad = damaged(given[1])
  config.judge.input = as_jsonl(workdir / "judge.jsonl", [given[0], bad, given[2]])
  config.data.max_bad = 1
  judge.run(config, workdir, "judge")
  as_jsonl(workdir / "judge.jsonl", given)
  config.data.max_bad = 0
  judge.run(config, workdir, "judge")
  lines = (workdir / "judge" / "verdicts.jsonl").read_text().splitlines()
  assert [*map(json.loads, lines)][1].get("error") is None and len(lines) == 3


def verdicts(workdir):
  lines = (workdir / "judge" / "verdicts.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_an_example_that_was_too_long_is_judged_when_the_bucket_is_raised(config, workdir):
  one, other = pairs(2)
  config.judge.input = as_jsonl(workdir / "judge.jsonl", [one, wordy(other, 20)])
  config.data.max_bad = 1
  judge.run(config, workdir, "judge")
  before = verdicts(workdir)
  assert "config.buckets.tokens" in before[1]["error"]
  config.buckets.tokens = (128, 2048)
  judge.run(config, workdir, "judge")
  found = verdicts(workdir)
  assert found[0] == before[0] and "error" not in found[1]


def test_the_same_bounds_keep_the_errors_of_eval_and_others_ask_again(config, workdir):
  given = pairs(3)
  given[1] = wordy(given[1], 20)
  config.eval.data = as_jsonl(workdir / "eval.jsonl", given)
  config.data.max_bad, config.eval.models = 1, "sft"
  log = workdir / "eval" / "sft" / "judgements.jsonl"
  eval_stage.run(config, workdir, "eval")
  before = log.read_text()
  eval_stage.run(config, workdir, "eval")
  assert log.read_text() == before and before.count('"error"') == 2
  config.buckets.tokens = (128, 2048)
  eval_stage.run(config, workdir, "eval")
  assert '"error"' not in log.read_text() and len(log.read_text().splitlines()) == 6
  assert json.loads((workdir / "summary.json").read_text())["stages"]["sft"]["n"] == 3


def test_a_picture_that_is_not_there_costs_judge_its_own_row_alone(config, workdir):
  records = [
    {"id": f"r{i}", "prompt": "which?", "image": f"{i}.png", "chosen": "a", "rejected": "b"}
    for i in range(3)
  ]
  pictures = [example.media[0].source for example in pairs(3)]
  for i in (0, 2):
    (workdir / f"{i}.png").write_bytes(pictures[i])
  config.judge.input = str(workdir / "published.jsonl")
  (workdir / "published.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in records))
  with pytest.raises(bad_examples.TooManyBad, match="no such file: .*1.png"):
    judge.run(config, workdir, "judge")
  config.data.max_bad = 1
  for _ in range(2):
    judge.run(config, workdir, "judge")
    found = verdicts(workdir)
    assert [(v["row"], "error" in v) for v in found] == [(0, False), (1, True), (2, False)]
  (workdir / "1.png").write_bytes(pictures[1])
  judge.run(config, workdir, "judge")
  assert [v["id"] for v in verdicts(workdir)] == ["r0", "r1", "r2"]
  assert verdicts(workdir)[::2] == found[::2] and "error" not in verdicts(workdir)[1]


def test_of_a_pair_that_was_in_the_input_twice_one_verdict_is_left(config, workdir):
  one, other = pairs(2)
  config.judge.input = as_jsonl(workdir / "judge.jsonl", [one, one, other])
  judge.run(config, workdir, "judge")
  as_jsonl(workdir / "judge.jsonl", [one, other])
  judge.run(config, workdir, "judge")
  assert [(v["row"], v["id"]) for v in verdicts(workdir)] == [(0, one.id), (1, other.id)]


def test_a_picture_that_vanishes_before_it_is_stored_is_left_out(
  config, workdir, spoil, monkeypatch
):
  spoil("distill")
  config.data.max_bad = 2
  config.distill.teacher.update(error=0.0, unparsable=0.0, per_object=0.0, relation=0.0)
  real = array_record.serialize

  def vanishes(example, **kwargs):
    if example.id == "p-5":
      raise BadMedia("example 'p-5': picture 'a.png' does not exist")
    return real(example, **kwargs)

  monkeypatch.setattr(array_record, "serialize", vanishes)
  distill.run(config, workdir, "distill")
  assert listed(workdir, "distill") == ["p-3", "p-5"]
