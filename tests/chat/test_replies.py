"""Replies: reading the body of a completion, and the kinds of errors."""

import json

import pytest

from cot_rm.chat import replies
from tests import endpoints


def read(*args, **named):
  return replies.read(json.dumps(endpoints.completion(*args, **named)))


def test_a_text_comes_with_its_tokens():
  reply = read("Image 1 is better", prompt_tokens=812, completion_tokens=190)
  assert reply == replies.Reply("Image 1 is better", None, 812, 190)
  assert reply.final and reply.kind == ""


@pytest.mark.parametrize(
  "body, kind",
  [
    (endpoints.completion(None, refusal="I cannot help"), "refused"),
    (endpoints.completion("", finish="content_filter"), "refused"),
    (endpoints.completion("Image 1 is", finish="length"), "cut"),
    (endpoints.completion(None), "empty"),
    (endpoints.completion(" \n"), "empty"),
    ({"choices": [], "usage": {"prompt_tokens": 3}}, "empty"),
  ],
)
def test_an_answer_without_a_usable_text_is_final_and_has_a_kind(body, kind):
  reply = replies.read(json.dumps(body))
  assert reply.text is None and reply.kind == kind and reply.final


@pytest.mark.parametrize(
  "body",
  [
    "<html>Bad gateway</html>",
    "",
    "[]",
    "null",
    "{}",
    '{"choices": [{}]}',
    '{"choices": [{"message": {"content": 3}}]}',
    '{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": "many"}}',
  ],
)
def test_a_body_that_is_no_completion_is_an_error_that_shows_it(body):
  reply = replies.read(body)
  assert reply.text is None and reply.kind == "malformed" and not reply.final


def test_usage_may_be_missing():
  body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
  assert replies.read(json.dumps(body)) == replies.Reply("x")


def test_an_error_without_a_known_kind_is_refused():
  with pytest.raises(ValueError, match="'odd: no'; it must begin with one of refused, empty"):
    replies.Reply(None, "odd: no")
