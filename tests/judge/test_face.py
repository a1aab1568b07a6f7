"""The public face of a judge: verdicts about pairs, from one order or both."""

import numpy as np
import pytest
from PIL import Image

import cot_rm
from cot_rm import prompts
from cot_rm.candidates import Candidates
from cot_rm.data import packing
from cot_rm.sampler.limits import Limits
from cot_rm.schema import Example, Media, PairVerdict, Verdict
from cot_rm.toy_world import world

BUCKETS = packing.Buckets(tokens=(64, 128), patches=(72, 144), answers=())


@pytest.fixture(scope="module")
def judge(tiny_folder):
  return cot_rm.load(tiny_folder, buckets=BUCKETS, max_prompts=4)


def test_compare_asks_in_both_orders_and_never_guesses(judge):
  examples = list(world.examples(world.World(), "check", count=3))
  verdicts = judge.compare(examples, grammar="brief", max_tokens=8)
  assert [v.answer for v in verdicts] == [None] * 3  # a random model finds no grammar
  assert all(
    v.votes == (0, 0, 2) and v.consistent is False and v.probability is None for v in verdicts
  )


def coin(text, task):
  """Any text is a verdict, or none, by its letters."""
  letters = sum(map(ord, text)) % 5
  answer = None if letters == 4 else 1 + letters % 2
  return Verdict(answer, span=(0, 1), error=None if answer else "a coin on its edge")


@pytest.mark.parametrize("both_orders", [True, False])
def test_votes_that_cannot_change_a_majority_are_left_out_and_counted(
  tiny_folder, monkeypatch, both_orders
):
  # Two votes of a prompt at a time: others wait when it is decided.
  judge = cot_rm.load(
    tiny_folder, buckets=BUCKETS, max_prompts=4, sampler=Limits(max_group=2, decode_chunk=8)
  )
  monkeypatch.setattr(prompts.get("brief"), "parse", coin)
  examples = list(world.examples(world.World(), "check", count=4))
  asked = dict(votes=7, temperature=1.0, seed=1, max_tokens=8, both_orders=both_orders)
  asked["grammar"] = "brief"
  every = judge.compare(examples, **asked)
  assert judge.report()["sampler/spared_tokens"] == 0
  some = judge.compare(examples, vote_stop=True, **asked)
  assert judge.report()["sampler/spared_tokens"] > 0
  majority = [v.answer for v in every if v.votes[0] != v.votes[1]]
  assert majority == [
    b.answer for a, b in zip(every, some, strict=True) if a.votes[0] != a.votes[1]
  ]
  assert sum(map(sum, (v.votes for v in some))) < sum(map(sum, (v.votes for v in every)))


def test_an_unknown_grammar_names_the_known(judge):
  with pytest.raises(ValueError, match="thnik.*think"):
    judge.compare(list(world.examples(world.World(), "check", count=1)), grammar="thnik")


def test_one_pair_has_one_verdict_and_a_list_has_a_list(judge):
  pair = next(iter(world.examples(world.World(), "check", count=1)))
  verdict = judge.compare(pair, grammar="brief", max_tokens=8)
  assert isinstance(verdict, PairVerdict)
  assert judge.compare([pair], grammar="brief", max_tokens=8) == [verdict]


def test_a_pair_of_images_needs_no_grammar_to_be_named(tiny_folder):
  buckets = packing.Buckets(tokens=(2048,), patches=(144,), answers=())
  judge = cot_rm.load(tiny_folder, buckets=buckets, max_prompts=4)
  red, blue = (Image.new("RGB", (84, 84), colour) for colour in ("red", "blue"))
  verdict = judge.compare(Example.images("a red star", red, blue), max_tokens=4)
  assert verdict.votes == (0, 0, 2) and verdict.answer is None  # a random model knows no grammar


def test_the_default_grammar_takes_the_pairs_of_every_task():
  render = prompts.get(prompts.DEFAULT).render
  render(Example.images("a red star", "a.png", "b.png"))
  render(Example.videos("a red star", "a.mp4", "b.mp4"))
  render(Example.answers("How many?", "two", "three", media="a.png"))
  render(Example.answers("How many?", "two", "three", media=Media("video", "a.mp4")))


def test_errors_name_the_argument_that_was_given(judge):
  pair = Example.images("a red star", "a.png", "b.png")
  with pytest.raises(ValueError, match="^votes is 0; it must be 1 or more"):
    judge.compare(pair, votes=0)
  with pytest.raises(ValueError, match="^votes is 3, and they would .*; set temperature above 0"):
    judge.compare(pair, votes=3)
  with pytest.raises(ValueError, match="temperature -1.0 is out of range"):
    judge.compare(pair, temperature=-1.0)


def test_what_is_no_example_is_refused_with_the_way_to_make_one(judge):
  with pytest.raises(TypeError, match="must be Examples, not str; make them with Example.images"):
    judge.compare(["a.png", "b.png"])
  with pytest.raises(TypeError, match="must be Examples, not NoneType"):
    judge.compare(None)


RED = Example.images("a red star", *(Image.new("RGB", (84, 84), c) for c in ("red", "blue")))
COLOURS = Candidates.images(
  "a red star", [Image.new("RGB", (84, 84), colour) for colour in ("blue", "red", "green", "white")]
)


def prefers_red(monkeypatch, judge):
  """Puts a judge in place of the model: it sees the pictures. Returns its batches."""
  batches = []

  def sees(examples, *, both_orders, **how):
    batches.append(examples)
    out = []
    for example in examples:
      red = [media.source.getpixel((0, 0))[0] for media in example.media]
      answer = 1 if red[0] >= red[1] else 2
      votes = [Verdict(answer, probability=0.9)] * how["n"]
      exchanged = [Verdict(3 - answer, probability=0.8)] * how["n"]
      out.append((votes, exchanged if both_orders else None))
    return out

  monkeypatch.setattr(judge, "verdicts", sees)
  return batches


def test_one_question_has_one_ranking_and_a_list_has_a_list_in_common_batches(monkeypatch, judge):
  batches = prefers_red(monkeypatch, judge)
  one = judge.rank(COLOURS)
  assert one.best == 1 and one.comparisons == 8 and len(one.strengths) == 4
  alone = len(batches)
  assert judge.rank([COLOURS, COLOURS]) == [one, one]
  assert len(batches) == 2 * alone and len(batches[-1]) == 2 * len(batches[alone - 1])
  every = judge.rank(COLOURS, method="round_robin")
  assert every.comparisons == 12 and every.best == 1
  assert judge.rank(COLOURS, method="knockout").comparisons == 6


def test_the_most_comparisons_are_logged_before_any_is_asked(monkeypatch, judge, caplog):
  batches = prefers_red(monkeypatch, judge)
  with caplog.at_level("INFO"):
    judge.rank([COLOURS, COLOURS], comparisons=6)
  assert "2 questions with 8 candidates, adaptive: at most 12 comparisons" in caplog.text
  assert sum(map(len, batches)) == 6  # each is asked in both orders


def test_one_pair_has_one_score_and_a_list_has_a_list(monkeypatch, judge):
  prefers_red(monkeypatch, judge)
  one = judge.score(RED)
  assert one.log_odds == pytest.approx((np.log(9) + np.log(4)) / 2) and one.readable == 2
  assert judge.score([RED, RED.swapped()])[1].log_odds == pytest.approx(-one.log_odds)
  assert judge.score(RED, both_orders=False).asked == 1
  assert judge.score(RED, votes=3, temperature=1.0, clip=1.0).log_odds == 1.0


def test_a_model_without_the_grammar_has_no_score_and_ranks_nobody_above_another(judge):
  pair = next(iter(world.examples(world.World(), "check", count=1)))
  score = judge.score(pair, grammar="brief", max_tokens=8)
  assert score.log_odds is None and score.error and (score.readable, score.asked) == (0, 2)
  ranked = judge.rank(COLOURS, grammar="brief", max_tokens=4)
  assert ranked.unreadable == ranked.comparisons == 8 and set(ranked.strengths) == {0.0}


def test_what_cannot_be_ranked_or_scored_is_refused_by_name(judge):
  with pytest.raises(TypeError, match="must be Candidates, not Example; make them with"):
    judge.rank(RED)
  with pytest.raises(TypeError, match="must be Examples, not Candidates"):
    judge.score(COLOURS)
  with pytest.raises(ValueError, match="^clip is 0; it must be"):
    judge.score(RED, clip=0)
  with pytest.raises(ValueError, match="^votes is 2, and they would all be the same"):
    judge.rank(COLOURS, votes=2)
  with pytest.raises(ValueError, match="4 comparisons are too few for 4 candidates: at least 6"):
    judge.rank(COLOURS, comparisons=4)
