"""A file of pairs in, a file of verdicts out: whole, in order, resumable, nothing passed over."""

import base64
import dataclasses
import json
import re
import shutil

import pytest

from cot_rm import judge as judging
from cot_rm import main
from cot_rm.data import jsonl
from cot_rm.schema import BadMedia, Media, PairVerdict, Votes
from cot_rm.stages import judge
from cot_rm.toy_world import world as toy_world


@pytest.fixture
def given(workdir, config):
  """Six pairs in a file, the third with a picture that is none."""
  world = toy_world.World(side=56, objects=(1, 1), video_understanding=0, video_generation=0)
  examples = list(toy_world.examples(world, "heldout", count=6))
  spoilt = tuple(Media("image", b"no picture") for _ in examples[2].media)
  examples[2] = dataclasses.replace(examples[2], media=spoilt)
  config.judge.input, config.data.max_bad = str(workdir / "pairs.jsonl"), 1
  jsonl.write(config.judge.input, examples)
  return examples


def verdicts(workdir):
  return [json.loads(line) for line in read_lines(workdir)]


def read_lines(workdir):
  return (workdir / "judge" / "verdicts.jsonl").read_text().splitlines()


def sure(self, examples, **_):
  """Stands for a judge that knows: compare() of one that always takes candidate 1."""
  for example in examples:
    if any(media.source == b"no picture" for media in example.media):
      raise BadMedia(f"example {example.id!r}: no readable picture")
  one = PairVerdict(1, 0.9, Votes(2, 0, 0), consistent=True, reasoning="so it is")
  return [one] * len(examples)


def test_a_bad_picture_is_written_with_its_error_and_the_others_are_judged(
  workdir, config, given, capsys
):
  judge.run(config, workdir, "judge")
  found = verdicts(workdir)
  assert [v["row"] for v in found] == list(range(6))
  assert [v["id"] for v in found] == [e.id for e in given]
  bad = found.pop(2)
  assert given[2].id in bad["error"] and "no readable picture" in bad["error"]
  for verdict in found:  # 8 tokens hold no verdict, and none is guessed
    assert verdict["answer"] is None and verdict["why_unparsable"]
    assert verdict["votes"] == [0, 0, 2] and verdict["consistent"] is False
  table = capsys.readouterr().out
  assert "unparsable" in table and "failed" in table and "pairs" in table


def test_an_interrupted_run_loses_and_repeats_no_row(workdir, config, given, monkeypatch, capsys):
  def falls(self, examples, **named):
    if given[5].id in [e.id for e in examples]:
      raise KeyboardInterrupt
    return sure(self, examples, **named)

  monkeypatch.setattr(judging.Judge, "compare", falls)
  with pytest.raises(KeyboardInterrupt):
    judge.run(config, workdir, "judge")
  before = read_lines(workdir)
  assert len(before) == 4
  with (workdir / "judge" / "verdicts.jsonl").open("a") as file:
    file.write('{"row": 4, "id": "half a li')

  monkeypatch.setattr(judging.Judge, "compare", sure)
  judge.run(config, workdir, "judge")
  assert read_lines(workdir)[:4] == before
  assert [v["row"] for v in verdicts(workdir)] == list(range(6))
  assert [v["id"] for v in verdicts(workdir)] == [e.id for e in given]
  right = [e.gold == 1 for i, e in enumerate(given) if i != 2]
  table = capsys.readouterr().out
  assert "accuracy of judged" in table and f"{sum(right) / len(right):.3f}" in table

  monkeypatch.setattr(judging.Judge, "compare", lambda *_, **__: pytest.fail("judged again"))
  judge.run(config, workdir, "judge")
  assert len(read_lines(workdir)) == 6


def test_only_pairs_that_have_changed_are_judged_again(workdir, config, given, monkeypatch):
  asked = []

  def listed(self, examples, **named):
    asked.extend(e.id for e in examples)
    return sure(self, examples, **named)

  monkeypatch.setattr(judging.Judge, "compare", listed)
  given[2] = given[1]
  given = [dataclasses.replace(e, id=str(i)) for i, e in enumerate(given)]
  jsonl.write(config.judge.input, given)
  judge.run(config, workdir, "judge")
  before = read_lines(workdir)
  other = dataclasses.replace(given[4], question="another")
  repaired = dataclasses.replace(given[3], gold=3 - given[3].gold)
  jsonl.write(config.judge.input, [given[5], given[0], other, repaired])
  asked.clear()
  judge.run(config, workdir, "judge")
  assert asked == ["4"]
  found = verdicts(workdir)
  assert [(v["row"], v["id"]) for v in found] == list(enumerate("5043"))
  assert found[3]["gold"] == repaired.gold
  aside = (workdir / "judge" / "earlier" / "1" / "verdicts.jsonl").read_text().splitlines()
  assert aside == [before[1], before[2], before[4]]


def test_the_same_command_judges_what_has_changed_since_it_was_complete(
  workdir, config, given, monkeypatch
):
  asked = []

  def listed(self, examples, **named):
    asked.extend(e.id for e in examples)
    return sure(self, examples, **named)

  def again():
    asked.clear()
    main.run(config, workdir, command=["main"])
    return list(asked)

  monkeypatch.setattr(judging.Judge, "compare", listed)
  config.stages = ("judge",)
  assert set(again()) == {e.id for e in given}
  (workdir / "judge" / "done.json").write_text('{"stage": "judge"}')  # as an older version left it
  before = read_lines(workdir)
  assert again() == [] and read_lines(workdir) == before

  given[4] = dataclasses.replace(given[4], question="another")
  jsonl.write(config.judge.input, given)
  assert again() == [given[4].id]
  between = read_lines(workdir)
  assert between[:4] + between[5:] == before[:4] + before[5:]

  shutil.rmtree(workdir / "sft" / "model")  # another model under the same name
  shutil.copytree(workdir / "world" / "model", workdir / "sft" / "model")
  assert set(again()) == {e.id for e in given}
  aside = workdir / "judge" / "earlier" / "2" / "verdicts.jsonl"
  assert aside.read_text().splitlines() == between


def test_verdicts_under_other_knobs_are_moved_aside(workdir, config, given, monkeypatch):
  monkeypatch.setattr(judging.Judge, "compare", sure)
  judge.run(config, workdir, "judge")
  before = read_lines(workdir)
  config.judge.both_orders = False
  judge.run(config, workdir, "judge")
  aside = workdir / "judge" / "earlier" / "1"
  assert (aside / "verdicts.jsonl").read_text().splitlines() == before
  assert len(read_lines(workdir)) == 6 and (aside / "asked.json").exists()


@pytest.mark.parametrize(
  "change, message",
  [
    ({"grammar": "thnik"}, "did you mean 'think'"),
    ({"judge.votes": 0}, "config.judge.votes is 0"),
    ({"judge.votes": 3}, "votes is 3, and they would .*; set config.judge.temperature above 0"),
    ({"judge.temperature": -1.0}, "temperature -1.0 is out of range"),
  ],
)
def test_a_bad_knob_stops_before_anything_is_written(workdir, config, given, change, message):
  config.update_from_flattened_dict(change)
  with pytest.raises(ValueError, match=message):
    judge.run(config, workdir, "judge")
  assert not (workdir / "judge").exists()


def test_a_bad_record_names_file_line_and_field_before_any_work(workdir, config, given):
  good = jsonl.to_record(given[0])
  picture = {"kind": "image", "base64": base64.b64encode(b"x").decode()}
  bad = {"id": "b", "task": "image_generation", "question": "a star", "media": [picture]}
  with open(config.judge.input, "w") as file:
    file.write(json.dumps(good) + "\n" + json.dumps(bad) + "\n")
  config.data.max_bad = 0
  with pytest.raises(ValueError, match="pairs.jsonl, line 2, field 'media': .*two media; got 1"):
    judge.run(config, workdir, "judge")
  assert not (workdir / "judge").exists()


def test_a_file_without_pairs_is_refused(workdir, config, given):
  open(config.judge.input, "w").close()
  with pytest.raises(ValueError, match="pairs.jsonl: there are no examples in it"):
    judge.run(config, workdir, "judge")
  assert not (workdir / "judge").exists()


def test_direct_reads_have_verdicts_without_reasoning_and_are_not_taken_for_written_ones(
  workdir, config, given
):
  judge.run(config, workdir, "judge")
  config.judge.read = "direct"
  assert not judge.preflight(config, workdir, "judge").faults
  judge.run(config, workdir, "judge")
  assert (workdir / "judge" / "earlier" / "1" / "verdicts.jsonl").exists()
  found = [one for one in verdicts(workdir) if "error" not in one]
  assert len(found) == 5
  for one in found:
    assert one["answer"] in (1, 2) and one["reasoning"].strip() == ""
    assert sum(one["votes"]) == 2 and one["votes"][2] == 0 and one["probability"] >= 0.5


@pytest.mark.parametrize(
  "change, message",
  [
    ({"judge.read": "drect"}, "config.judge.read.*'drect'.*direct"),
    (
      {"judge.read": "direct", "judge.votes": 3, "judge.temperature": 1.0},
      "direct reads of a pair",
    ),
  ],
)
def test_a_wrong_way_to_read_stops_before_a_model_is_loaded(
  workdir, config, given, change, message
):
  config.update_from_flattened_dict(change)
  with pytest.raises(ValueError, match=message):
    judge.run(config, workdir, "judge")
  assert any(re.search(message, f) for f in judge.preflight(config, workdir, "judge").faults)
