"""Eval writes every figure of every model once, and continues where it was interrupted."""

import dataclasses
import io
import json
import pathlib
import types

import numpy as np
import PIL.Image
import pytest

from cot_rm import judge
from cot_rm.data import bad_examples, datasets, identity, jsonl
from cot_rm.schema import TASKS, Completion, Verdict
from cot_rm.stages import eval as eval_stage
from cot_rm.stages import evaluation, scored_models
from tests.stages import answers_by_rule

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks" / "fixtures"


def summary(workdir):
  return json.loads((workdir / "summary.json").read_text())["stages"]


def records(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def sure(monkeypatch):
  """Stands for a model: it takes the first, the surer the later it is asked. Lists the calls."""
  calls = []

  def answered(examples, *, n, progress, **_):
    calls.append([(e.id, e.gold) for e in examples])
    progress(len(examples))
    made = Completion("so it is", np.zeros(3, np.int32), np.zeros(3), "stop")
    count = sum(map(len, calls))
    return [
      judge.Judgement(e, None, (made,) * n, (Verdict(1, probability=1 - 1 / (count + i)),) * n)
      for i, e in enumerate(examples)
    ]

  monkeypatch.setattr(judge, "load", lambda *_, **__: types.SimpleNamespace(judge_usable=answered))
  return calls


def test_every_figure_of_every_model_is_written_and_no_answer_is_asked_for_twice(
  workdir, config, capsys, monkeypatch
):
  (workdir / "sft" / "training.json").write_text(json.dumps({"steps": 4, "seconds": 7.5}))
  config.eval.votes, config.eval.vote_pairs, config.eval.vote_at = 2, 3, (1, 2, 5)
  assert eval_stage.run(config, workdir, "eval") is False
  assert list(summary(workdir)) == ["sft"]  # there is no model of RL or the control yet
  found = summary(workdir)["sft"]
  shares = {
    "accuracy",
    "first_slot_accuracy",
    "order_consistency",
    "parse_rate",
    "fidelity",
    "cut",
    "blank_accuracy",
  }
  assert shares <= found.keys() and all(0 <= found[name] <= 1 for name in shares)
  assert found["n"] == 6 and 0 < found["mean_length"] <= 8
  assert found["seconds"] == 7.5 and found["steps"] == 4
  assert found["families"] and found["families"].keys() <= set(TASKS)
  low, high = found["intervals"]["accuracy"]
  assert low <= found["accuracy"] <= high
  assert found["voting"]["at"] == [1, 2] and found["voting"]["n"] == 3
  assert found["voting"]["samples"] == 2 and found["voting"]["temperature"] == 1.0
  folder = workdir / "eval" / "sft"
  assert len(records(folder / "judgements.jsonl")) == 12
  assert len(records(folder / "votes.jsonl")) == 3 * 2 * 2
  assert len(records(folder / "blank.jsonl")) == 2 * 2
  kept = records(folder / "samples" / "000000.jsonl")
  assert [record["kind"] for record in kept] == ["sample"] * 2 and kept[0]["media"]
  table = capsys.readouterr().out
  assert "first slot accuracy" in table and "voting@2" in table
  assert "data:image/png;base64" in (workdir / "report.html").read_text()

  monkeypatch.setattr(judge, "load", lambda *_, **__: pytest.fail("it is asked again"))
  eval_stage.run(config, workdir, "eval")
  assert summary(workdir) == {"sft": found}


def test_a_model_by_its_path_is_scored_under_its_path(workdir, config, sure):
  config.eval.models, config.eval.blank_pairs = f"{workdir}/world/model", 0
  eval_stage.run(config, workdir, "eval")
  (name,) = summary(workdir)
  assert name.endswith("--world--model")


def test_pairs_of_a_file_with_paths_are_asked_with_blank_pictures_too(workdir, config, sure):
  pairs = list(datasets.open(workdir / "world" / "data", config.eval.split))[:6]
  made = []
  for pair in pairs:
    media = []
    for number, medium in enumerate(pair.media):
      frames = [medium.source] if medium.kind == "image" else medium.source
      folder = workdir / "pictures" / pair.id / str(number)
      folder.mkdir(parents=True)
      for at, frame in enumerate(frames):
        (folder / f"{at}.png").write_bytes(frame)
      source = folder / "0.png" if medium.kind == "image" else folder
      media.append(dataclasses.replace(medium, source=str(source)))
    made.append(dataclasses.replace(pair, media=tuple(media)))
  config.eval.data = str(workdir / "pairs.jsonl")
  jsonl.write(config.eval.data, made)
  assert "base64" not in (workdir / "pairs.jsonl").read_text()
  eval_stage.run(config, workdir, "eval")
  assert "blank_accuracy" in summary(workdir)["sft"]
  assert len(records(workdir / "eval" / "sft" / "blank.jsonl")) == 2 * config.eval.blank_pairs


def test_an_interrupted_run_asks_for_missing_answers_only(workdir, config, sure, monkeypatch):
  monkeypatch.setattr(evaluation, "BATCHES", 1)  # four prompts a call
  config.eval.blank_pairs = 0
  eval_stage.run(config, workdir, "eval")
  assert [len(call) for call in sure] == [4, 4, 4]
  path = workdir / "eval" / "sft" / "judgements.jsonl"
  whole, figures = path.read_text(), summary(workdir)
  path.write_text("".join(whole.splitlines(keepends=True)[:8])[:-9])  # killed in the second call
  first = sure[1][3]
  sure.clear()
  eval_stage.run(config, workdir, "eval")
  assert [len(call) for call in sure] == [4, 1] and sure[0][0] == first
  keys = lambda text: [
    (r["row"], r["order"], r["sample"]) for r in map(json.loads, text.splitlines())
  ]
  assert keys(path.read_text()) == keys(whole) == [(r, o, 0) for r in range(6) for o in (0, 1)]
  found = summary(workdir)
  for one in (found["sft"], figures["sft"]):
    del one["calibration"]  # the stand-in is less sure when it is asked anew
  assert found == figures


def test_a_model_that_was_trained_again_is_asked_again(workdir, config, sure):
  eval_stage.run(config, workdir, "eval")
  asked = len(sure)
  info = workdir / "sft" / "model" / "cot_rm.json"
  info.write_text(info.read_text().replace('"step"', '"step" '))
  eval_stage.run(config, workdir, "eval")
  assert len(sure) == 2 * asked
  assert len(records(workdir / "eval" / "sft" / "judgements.jsonl")) == 12


def test_a_pair_that_was_replaced_under_its_id_is_asked_again_and_the_others_are_not(
  workdir, config, sure
):
  pairs = list(datasets.open(workdir / "world" / "data", config.eval.split))[:6]
  config.eval.data = str(workdir / "pairs.jsonl")
  jsonl.write(config.eval.data, pairs)
  eval_stage.run(config, workdir, "eval")
  first = summary(workdir)["sft"]
  sure.clear()
  question, media = pairs[0].question, pairs[1].media
  pairs[1] = dataclasses.replace(pairs[1], question=f"{question} {pairs[1].question}")
  pairs[4] = dataclasses.replace(
    pairs[4], media=media, task=pairs[1].task, responses=pairs[1].responses
  )
  pairs[5] = dataclasses.replace(pairs[5], gold=3 - pairs[5].gold)
  jsonl.write(config.eval.data, pairs)
  eval_stage.run(config, workdir, "eval")
  asked = {id for call in sure for id, _ in call}
  assert asked == {pairs[1].id, pairs[4].id}  # of pairs[5] the answers stay, and count otherwise
  assert summary(workdir)["sft"]["n"] == first["n"] == 6
  folder = workdir / "eval" / "sft"
  assert len(records(folder / "judgements.jsonl")) == 12
  assert len(records(folder / "earlier" / "1" / "judgements.jsonl")) == 4
  hashes = {r["id"]: r["hash"] for r in records(folder / "judgements.jsonl")}
  assert hashes == {e.id: identity.question_hash(e) for e in pairs}


def test_a_model_with_another_tokenizer_is_asked_again(workdir, config, sure):
  eval_stage.run(config, workdir, "eval")
  before = records(workdir / "eval" / "sft" / "judgements.jsonl")
  template = next((workdir / "sft" / "model").glob("tokenizer_config.json"))
  template.write_text(template.read_text() + " ")
  sure.clear()
  eval_stage.run(config, workdir, "eval")
  assert sum(map(len, sure)) == 16
  aside = workdir / "eval" / "sft" / "earlier" / "1"
  assert records(aside / "judgements.jsonl") == before and (aside / "blank.jsonl").exists()


def test_the_most_confident_right_and_wrong_judgements_are_shown(workdir, config, sure):
  config.eval.samples, config.eval.best, config.eval.worst = 1, 2, 1
  eval_stage.run(config, workdir, "eval")
  kept = records(workdir / "eval" / "sft" / "samples" / "000000.jsonl")
  assert [record["kind"] for record in kept].count("sample") == 1
  of = lambda kind: [record for record in kept if record["kind"] == kind]
  assert len(of("best")) == 2 and all(r["answer"] == r["gold"] for r in of("best"))
  assert len(of("worst")) == 1 and all(r["answer"] != r["gold"] for r in of("worst"))
  assert all(set(r["rewards"]) == {"accuracy", "format"} for r in kept)
  assert {r["rewards"]["accuracy"] for r in of("worst")} == {0.0}
  assert len({record["id"] for record in kept}) == len(kept)
  # The last pair is the surest, right in one order; which one it is says its gold answer.
  lines = records(workdir / "eval" / "sft" / "judgements.jsonl")
  surest = max(lines, key=lambda line: line["probability"])
  assert surest["id"] in {record["id"] for record in of("best") + of("worst")}


def test_the_probabilities_of_verdicts_pairs_and_votes_are_held_against_the_truth(
  workdir, config, sure
):
  config.eval.votes, config.eval.vote_pairs, config.eval.vote_at = 2, 3, (1, 2)
  eval_stage.run(config, workdir, "eval")
  found = summary(workdir)["sft"]
  calibration = found["calibration"]
  assert {name: one["n"] for name, one in calibration.items()} == {
    "pairs": 6,
    "verdicts": 12,
    "voted_pairs": 3,
  }
  # The first is always taken: half of the verdicts are right, and all are surer than that.
  assert calibration["verdicts"]["accuracy"] == 0.5 < calibration["verdicts"]["probability"]
  lines = records(workdir / "eval" / "sft" / "judgements.jsonl")
  mean = np.mean([line["probability"] for line in lines])
  assert calibration["verdicts"]["probability"] == pytest.approx(mean, abs=1e-6)
  assert found["definitions"]["ece/voted_pairs"]["n"] == 3
  assert "Calibration" in (workdir / "report.html").read_text()


def test_a_public_benchmark_is_scored_by_its_rule(workdir, config, sure, public):
  config.eval.mode = "r1_reward"
  eval_stage.run(config, workdir, "eval")
  found = summary(workdir)["sft"]
  assert sum(map(len, sure)) == 50 and found["accuracy"] == found["accuracy_macro"] == 1
  config.eval.mode = "both"
  eval_stage.run(config, workdir, "eval")  # the other order is asked, and the first kept
  found = summary(workdir)["sft"]
  assert sum(map(len, sure)) == 100 and found["accuracy"] == 0.5
  assert found["families"] == {"general": 0.5, "hallucination": 0.5, "reasoning": 0.5}
  assert found["definitions"]["families/hallucination"]["n"] == 24
  # Judges without a model are scored by the same rule; published results are in the report.
  plain = json.loads((workdir / "summary.json").read_text())["baselines"]
  assert plain["always the first"]["accuracy"] == 0.5 and plain["the longer answer"]["n"] == 50
  page = (workdir / "report.html").read_text()
  assert "the shorter answer" in page and "UnifiedReward-Think 7B" in page
  config.eval.mode, config.eval.baselines = "r1_reward", False
  eval_stage.run(config, workdir, "eval")
  assert "baselines" not in json.loads((workdir / "summary.json").read_text())


def test_pairs_that_people_call_equal_are_asked_for_tau_alone(workdir, config, sure):
  folder = workdir / "bench"
  folder.mkdir()
  for name, color in (("0.png", "red"), ("1.png", "blue")):
    PIL.Image.new("RGB", (56, 56), color).save(folder / name)
  votes = ("leftvote", "rightvote", "tievote", "bothbad_vote", "leftvote")
  side = {"left_image": "0.png", "right_image": "1.png"}
  lines = [{"prompt": f"box {i}", **side, "vote_type": vote} for i, vote in enumerate(votes)]
  (folder / "data.json").write_text(json.dumps(lines))
  config.eval.benchmark, config.eval.data, config.eval.mode = "genai_bench", "bench", "both"
  config.eval.blank_pairs, config.eval.votes, config.eval.vote_at = 4, 1, (1,)
  assert not [f for f in eval_stage.preflight(config, workdir, "eval").faults if "gold" in f]
  eval_stage.run(config, workdir, "eval")
  found = summary(workdir)["sft"]
  # Always the first: each decided pair is half right, and all orders disagree: ties everywhere.
  assert (found["diff"], found["tau"], found["n"]) == (0.5, 2 / 5, 3)
  assert found["voting"]["n"] == found["definitions"]["blank_accuracy"]["n"] == 3
  assert "not_judged" not in found
  judged = workdir / "eval" / "sft" / "judgements.jsonl"
  assert len(records(judged)) == 10
  before = sum(map(len, sure))
  config.eval.mode = "unified_reward_vllm"  # asks no ties; no answer to one is lost
  eval_stage.run(config, workdir, "eval")
  found = summary(workdir)["sft"]
  assert found["diff"] == 0.5 and "tau" not in found and "not_judged" not in found
  assert sum(map(len, sure)) == before and len(records(judged)) == 10
  assert not (workdir / "eval" / "sft" / "earlier").exists()


@pytest.fixture
def public(workdir, config):
  """The records of VL-RewardBench with pictures of our own; the path of the folder."""
  folder = workdir / "bench"
  text = (BENCHMARKS / "vl_rewardbench.jsonl").read_text()
  out = io.BytesIO()
  PIL.Image.new("RGB", (56, 56), "red").save(out, "JPEG")
  for record in map(json.loads, text.splitlines()):
    path = folder / record["image"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out.getvalue())
  (folder / "data.jsonl").write_text(text)
  config.eval.benchmark, config.eval.data, config.eval.blank_pairs = "vl_rewardbench", "bench", 0
  return pathlib.Path(folder)


def test_half_the_pictures_missing_costs_half_the_pairs_and_figures_say_so(
  workdir, config, sure, public
):
  files = sorted(public.glob("**/*.jpg"))
  for path in files[::2]:
    path.unlink()
  records = [json.loads(line) for line in (public / "data.jsonl").read_text().splitlines()]
  there = [record for record in records if (public / record["image"]).exists()]
  with pytest.raises(bad_examples.TooManyBad, match="config.data.max_bad"):
    eval_stage.run(config, workdir, "eval")
  assert not sure
  config.data.max_bad = len(records)
  eval_stage.run(config, workdir, "eval")
  found = summary(workdir)["sft"]
  assert 0 < found["n"] == len(there) < len(records)
  assert found["definitions"]["accuracy"]["n"] == len(there)
  left_out = (workdir / "eval" / "skipped.jsonl").read_text()
  assert left_out.count("no such picture") == len(records) - len(there)


def test_a_cut_line_a_picture_that_does_not_decode_and_another_language_end_no_evaluation(
  workdir, config, monkeypatch, public
):
  lines = (public / "data.jsonl").read_text().splitlines()
  record = json.loads(lines[3]) | {"chosen": "两只猫", "rejected": "三只猫"}
  lines[2], lines[3] = lines[2][:40], json.dumps(record, ensure_ascii=False)
  (public / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
  answers_by_rule.install(monkeypatch, lambda e: None if "猫" in e.responses[0] else 1, "")
  config.data.max_bad = 5
  eval_stage.run(config, workdir, "eval")
  found = summary(workdir)["sft"]
  assert found["n"] == len(lines) - 1 and found["unparsable"] > 0
  assert "line 3" in (workdir / "eval" / "skipped.jsonl").read_text()


def test_a_judge_that_returns_nothing_is_wrong_everywhere_and_counted(
  workdir, config, monkeypatch, public
):
  answers_by_rule.install(monkeypatch, lambda e: None, "")
  n = len((public / "data.jsonl").read_text().splitlines())
  for mode in ("both", "official", "unified_reward"):
    config.eval.mode = mode
    eval_stage.run(config, workdir, "eval")
    found = summary(workdir)["sft"]
    assert (found["accuracy"], found["parse_rate"], found["n"]) == (0, 0, n)
  config.eval.mode = "lmms_eval"  # half of nothing, as its coin has it
  eval_stage.run(config, workdir, "eval")
  assert summary(workdir)["sft"]["accuracy"] == 0.5


@pytest.mark.parametrize(
  "change, message",
  [
    ({"eval.benchmark": "pears"}, "unknown benchmark 'pears'; did you mean 'pairs'"),
    ({"eval.mode": "r1_reward"}, "unknown config.eval.mode 'r1_reward'; known: both, first"),
    ({"grammar": "thnik"}, "did you mean 'think'"),
    ({"eval.models": "sftt"}, "unknown model in config.eval.models 'sftt'; did you mean 'sft'"),
  ],
)
def test_a_bad_knob_stops_before_any_model_is_loaded(workdir, config, sure, change, message):
  config.update_from_flattened_dict(change)
  with pytest.raises(ValueError, match=message):
    eval_stage.run(config, workdir, "eval")
  assert not sure and not (workdir / "eval").exists()


def test_a_stage_that_left_no_model_is_skipped_with_a_line(workdir, config, sure, monkeypatch):
  lines = []
  monkeypatch.setattr(scored_models.logging, "info", lambda text, *args: lines.append(text % args))
  config.eval.blank_pairs = 0
  eval_stage.run(config, workdir, "eval")
  assert list(summary(workdir)) == ["sft"]
  missing = [line for line in lines if "there is no model of" in line]
  assert len(missing) == 2 and "'rl'" in missing[0] and "'control_sft'" in missing[1]


def test_an_eval_in_another_folder_uses_the_section_of_its_name(workdir, config, sure):
  config.eval2 = config.eval.copy_and_resolve_references()
  config.eval2.pairs, config.eval2.blank_pairs = 2, 0
  eval_stage.run(config, workdir, "eval2")
  assert summary(workdir)["sft"]["n"] == 2
  assert len(records(workdir / "eval2" / "sft" / "judgements.jsonl")) == 4


def test_direct_reads_stand_beside_the_written_judgements_in_a_folder_of_their_own(
  workdir, config, monkeypatch
):
  config.eval.votes, config.eval.vote_at = 2, (1, 2)
  eval_stage.run(config, workdir, "eval")
  written = (workdir / "eval" / "sft" / "judgements.jsonl").read_text()
  config.eval.read = "text,direct"
  eval_stage.run(config, workdir, "eval")
  assert list(summary(workdir)) == ["sft", "sft--direct"]
  assert (workdir / "eval" / "sft" / "judgements.jsonl").read_text() == written
  assert not (workdir / "eval" / "sft" / "earlier").exists()
  found, folder = summary(workdir)["sft--direct"], workdir / "eval" / "sft--direct"
  assert found["parse_rate"] == 1 and found["mean_length"] == 1 and found["n"] == 6
  assert "blank_accuracy" in found and not {"voting", "fidelity"} & found.keys()
  for place, read in ((folder, "direct"), (workdir / "eval" / "sft", "text")):
    assert json.loads((place / "asked.json").read_text())["read"] == read
  assert not (folder / "votes.jsonl").exists()
  answers = records(folder / "judgements.jsonl")
  assert len(answers) == 12
  for record in answers:
    assert record["answer"] in (1, 2) and record["tokens"] == 1 and 0 < record["label_mass"] <= 1
    assert record["text"].startswith("<think>\n</think>\n<answer>")
  monkeypatch.setattr(judge, "load", lambda *_, **__: pytest.fail("it is asked again"))
  eval_stage.run(config, workdir, "eval")
  assert summary(workdir)["sft--direct"] == found


def test_answers_of_a_version_without_direct_reads_are_written_ones(workdir, config, sure):
  config.eval.blank_pairs = 0
  eval_stage.run(config, workdir, "eval")
  note = workdir / "eval" / "sft" / "asked.json"
  asked = json.loads(note.read_text())
  assert asked.pop("read") == "text"
  note.write_text(json.dumps(asked))
  asked = len(sure)
  eval_stage.run(config, workdir, "eval")
  assert len(sure) == asked
