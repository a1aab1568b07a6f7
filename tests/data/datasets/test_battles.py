"""Battles of two models."""

import pytest

from tests.published_sets import CHOSEN, QUESTION, REJECTED, encoded, preferred


def battle(winner, first=CHOSEN, second=REJECTED, **fields):
  asked = {"role": "user", "content": QUESTION}
  chats = [[asked, {"role": "assistant", "content": text}] for text in (first, second)]
  names = dict(zip(("conversation_a", "conversation_b"), chats, strict=True))
  image = {"bytes": encoded(), "path": None}
  return {"question_id": winner, "image": image, "winner": winner, **names, **fields}


def test_the_winner_is_the_better_answer_and_the_order_is_that_of_the_data(folder):
  winners = ("model_a", "model_b", "tie", "tie (bothbad)")
  source = folder.open([battle(winner) for winner in winners], "train.parquet")
  assert [e.gold for e in source] == [1, 2] and source[0].id == "model_a"
  assert {e.responses for e in source} == {(CHOSEN, REJECTED)}
  assert source[0].question == QUESTION and len(source[0].media) == 1
  assert source.counts.left_out == {"tie": 1, "both are bad": 1}
  kept = folder.open([battle(winner) for winner in winners], "train.parquet", ties="keep")
  assert [e.gold for e in kept] == [1, 2, None, None]


def test_turns_behind_the_first_answers_belong_to_the_answers(folder):
  record = battle("model_b")
  del record["image"]
  record["conversation_b"] += [{"role": "user", "content": "Sure?"}]
  (one,) = folder.open([record])
  assert one.question == QUESTION
  assert preferred(one) == f"Assistant: {REJECTED}\n\nUser: Sure?"


def test_equal_answers_are_no_pair_and_other_questions_are_bad(folder):
  other = battle("model_a")
  other["conversation_b"] = [{**other["conversation_b"][0], "content": "?"}]
  with pytest.raises(ValueError, match="do not begin with the same question"):
    folder.open([other], "a.parquet")
  with pytest.raises(ValueError, match="1 left out: both candidates are the same"):
    folder.open([battle("model_a", second=CHOSEN)], "a.parquet")
  with pytest.raises(ValueError, match="'winner' must be model_a, model_b or a tie, not 'me'"):
    folder.open([battle("me")], "a.parquet")
