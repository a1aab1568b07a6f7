"""Logs of answers: written as they come, and no answer is asked for twice."""

import contextlib
import dataclasses
import json
import types

import numpy as np
import pytest

from cot_rm.data import answer_log, identity
from cot_rm.schema import Completion, Example, Media, Verdict

EXAMPLES = [
  Example(f"e{i}", "s", "image_understanding", "q", responses=("a", "b"), gold=1) for i in range(5)
]
BOTH = [(0, 1)] * 5
LABELLED = Verdict(1, probability=0.75, label_mass=0.9, label_top=True)


class Judge:
  """Answers and records the examples it was asked about; call number `falls` is interrupted."""

  def __init__(self, falls=None):
    self.asked, self.falls = [], falls

  def __call__(self, examples, progress):
    if len(self.asked) == self.falls:
      raise KeyboardInterrupt
    self.asked.append([(e.id, e.gold) for e in examples])
    progress(len(examples))
    return [self.judged(e) for e in examples]

  def judged(self, example):
    tokens = np.arange(3, dtype=np.int32)
    texts = [f"{example.id} {example.gold} {i}" for i in range(2)]
    return types.SimpleNamespace(
      example=example,
      completions=tuple(Completion(text, tokens, np.zeros(3), "stop") for text in texts),
      verdicts=(LABELLED, Verdict(None, error="no verdict")),
    )


class Bar:
  def __init__(self):
    self.made, self.done = [], 0

  def __call__(self, total, done):
    self.made.append((total, done))
    return contextlib.nullcontext(self)

  def advance(self, count):
    self.done += count


def answers(path, ask, bar=None, orders=BOTH, n=2):
  return answer_log.complete(path, EXAMPLES, orders, ask, n=n, step=3, bar=bar or Bar())


def test_answers_come_back_as_they_were_given(tmp_path):
  bar = Bar()
  given, swapped = answers(tmp_path / "a.jsonl", Judge(), bar)
  assert bar.made == [(10, 0)] and bar.done == 10
  assert [a.completions[1].text for a in given] == [f"e{i} 1 1" for i in range(5)]
  assert [a.completions[0].text for a in swapped] == [f"e{i} 2 0" for i in range(5)]
  one = swapped[0]
  assert one.example.responses == ("b", "a") and one.example.gold == 2
  assert one.verdicts == (LABELLED, Verdict(None, error="no verdict"))
  assert len(one.completions[0].tokens) == 3 and one.completions[0].finish == "stop"
  record = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[3])
  places = {name: record[name] for name in ("row", "order", "sample", "id", "tokens")}
  assert places == {"row": 0, "order": 1, "sample": 1, "id": "e0", "tokens": 3}


def test_answers_of_an_older_version_have_no_figures_of_label_tokens(tmp_path):
  path = tmp_path / "a.jsonl"
  answers(path, Judge())
  records = [json.loads(line) for line in path.read_text().splitlines()]
  older = [{k: v for k, v in r.items() if not k.startswith("label_")} for r in records]
  path.write_text("".join(f"{json.dumps(record)}\n" for record in older))
  judge = Judge()
  given, _ = answers(path, judge)
  assert not judge.asked and given[0].verdicts[0] == Verdict(1, probability=0.75)


def test_a_run_that_is_killed_loses_and_repeats_no_answer(tmp_path):
  path = tmp_path / "a.jsonl"
  with pytest.raises(KeyboardInterrupt):
    answers(path, Judge(falls=2))
  whole = path.read_text()
  assert len(whole.splitlines()) == 12  # two calls, three examples each, twice answered
  path.write_text(whole + whole.splitlines()[0][:20])  # and one line half written
  judge, bar = Judge(), Bar()
  found = answers(path, judge, bar)
  assert judge.asked == [[("e3", 1), ("e3", 2), ("e4", 1)], [("e4", 2)]]
  assert bar.made == [(10, 6)] and bar.done == 4
  assert path.read_text().startswith(whole) and len(path.read_text().splitlines()) == 20
  afresh = answers(tmp_path / "b.jsonl", Judge())
  assert [a.completions[0].text for side in found for a in side] == [
    a.completions[0].text for side in afresh for a in side
  ]
  never = Judge(falls=0)
  answers(path, never)  # nothing is missing: nothing is asked


def test_a_sample_that_is_missing_is_added_and_the_others_stay(tmp_path):
  path = tmp_path / "a.jsonl"
  answers(path, Judge())
  before = path.read_text().splitlines()
  path.write_text("\n".join(before[:-1]) + "\n")
  judge = Judge()
  answers(path, judge)
  assert judge.asked == [[("e4", 2)]] and path.read_text().splitlines() == before


def test_only_the_given_orders_are_asked(tmp_path):
  judge = Judge()
  given, swapped = answers(tmp_path / "a.jsonl", judge, orders=[(0,), (1,), (), (0, 1), ()])
  assert [a is None for a in given] == [False, True, True, False, True]
  assert [a is None for a in swapped] == [True, False, True, False, True]
  assert sum(map(len, judge.asked)) == 4


def test_a_foreign_line_is_refused(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_text("nonsense\n")
  with pytest.raises(ValueError, match="line 1: not JSON"):
    answer_log.read(path, EXAMPLES)
  assert answer_log.read(tmp_path / "none.jsonl", EXAMPLES) == []


def lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def logged(tmp_path, examples=EXAMPLES, **changes):
  """A log with one record per example."""
  path = tmp_path / "a.jsonl"
  records = [
    {"row": row, "id": e.id, "hash": identity.question_hash(e), "text": e.id} | changes
    for row, e in enumerate(examples)
  ]
  answer_log.append(path, records)
  return path


def texts(records):
  return [(record["row"], record["text"]) for record in records]


def test_answers_to_a_pair_that_has_changed_are_moved_aside_and_asked_anew(tmp_path, caplog):
  path = tmp_path / "a.jsonl"
  answers(path, Judge())
  before = lines(path)
  changed = list(EXAMPLES)
  changed[2] = dataclasses.replace(EXAMPLES[2], question="another")
  judge = Judge()
  given, _ = answer_log.complete(path, changed, BOTH, judge, n=2, step=3, bar=Bar())
  assert judge.asked == [[("e2", 1), ("e2", 2)]] and given[2].example == changed[2]
  aside = lines(tmp_path / "earlier" / "1" / "a.jsonl")
  assert aside == [record for record in before if record["id"] == "e2"]
  assert "4 of 20 answers are about examples that the input no longer has" in caplog.text
  assert "'e2'" in caplog.text and "earlier/1/a.jsonl" in caplog.text
  kept = [record for record in lines(path) if record["id"] != "e2"]
  assert kept == [record for record in before if record["id"] != "e2"]


def test_answers_follow_their_examples_to_other_rows(tmp_path, caplog):
  path = logged(tmp_path)
  moved = [EXAMPLES[3], dataclasses.replace(EXAMPLES[0], id="new"), EXAMPLES[0]]
  assert texts(answer_log.read(path, moved)) == [(0, "e3"), (2, "e0")]
  assert texts(lines(path)) == [(2, "e0"), (0, "e3")]
  assert "3 of 5 answers" in caplog.text
  assert [r["id"] for r in lines(tmp_path / "earlier/1/a.jsonl")] == ["e1", "e2", "e4"]
  assert texts(answer_log.read(path, moved)) == [(0, "e3"), (2, "e0")]
  assert not (tmp_path / "earlier" / "2").exists()


def test_a_changed_gold_answer_keeps_the_answer_and_is_the_one_that_counts(tmp_path):
  path = tmp_path / "a.jsonl"
  answers(path, Judge())
  other = [dataclasses.replace(e, gold=2) for e in EXAMPLES]
  given, _ = answer_log.complete(path, other, BOTH, Judge(falls=0), n=2, step=3, bar=Bar())
  assert [judged.example.gold for judged in given] == [2] * 5


def test_answers_of_an_older_version_are_accepted_by_row_and_id_once(tmp_path, caplog):
  path = tmp_path / "a.jsonl"
  answer_log.append(
    path, [{"row": 0, "id": "e0", "text": "x"}, {"row": 1, "id": "f1", "text": "y"}]
  )
  assert texts(answer_log.read(path, EXAMPLES)) == [(0, "x")]
  assert "1 answers of an older version" in caplog.text
  assert "1 of 2 answers are about examples" in caplog.text
  assert lines(path)[0]["hash"] == identity.question_hash(EXAMPLES[0])
  changed = [dataclasses.replace(EXAMPLES[0], question="another")]
  assert answer_log.read(path, changed) == []


def test_every_answer_that_is_moved_aside_stays(tmp_path):
  path = logged(tmp_path)
  for number in (1, 2):
    assert answer_log.read(path, [dataclasses.replace(e, task=OTHER) for e in EXAMPLES]) == []
    assert len(lines(tmp_path / "earlier" / str(number) / "a.jsonl")) == 5
    logged(tmp_path)


def test_errors_are_removed_where_they_may_not_hold_any_more(tmp_path):
  path = logged(tmp_path)
  answer_log.write(path, [r | ({"error": "x"} if r["row"] in (1, 2) else {}) for r in lines(path)])
  fetched = dataclasses.replace(
    EXAMPLES[1], media=(Media("video", [{"path": "https://example.org/a.png"}]),)
  )
  given = [EXAMPLES[0], fetched, *EXAMPLES[2:]]
  records = lines(path)
  records[1]["hash"] = identity.question_hash(fetched)
  answer_log.write(path, records)
  assert [r["row"] for r in answer_log.read(path, given)] == [0, 1, 2, 3, 4]
  assert [r["row"] for r in answer_log.read(path, given, refetch=True)] == [0, 2, 3, 4]
  assert [r["row"] for r in lines(path)] == [0, 2, 3, 4]
  assert answer_log.drop_errors(path) == 1 and answer_log.drop_errors(path) == 0
  assert [r["row"] for r in lines(path)] == [0, 3, 4]


OTHER = "video_understanding"
