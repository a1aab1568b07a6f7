"""Turns in the spellings of the field."""

import json

import pytest

from cot_rm.data.datasets import chats
from cot_rm.schema import BadRecord

CHAT = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]


@pytest.mark.parametrize(
  "value",
  [
    CHAT,
    json.dumps(CHAT),
    [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}],
    {"from": ["human", "gpt"], "value": ["?", "!"]},
    [{**turn, "from": None, "value": None} for turn in CHAT],
    [{"role": None, "content": None, "from": "user", "value": "?"}, CHAT[1]],
    [{"role": " User", "content": json.dumps([{"type": "Text", "text": "?"}])}, CHAT[1]],
    [{"role": "user", "content": {"type": "input_text", "text": "?"}}, CHAT[1]],
    [{"role": "user", "content": [{"type": "text", "text": "?"}]}, CHAT[1]],
  ],
)
def test_turns(make_row, value):
  turns = chats.turns(make_row({}), value, "chat")
  assert [(turn.role, turn.text) for turn in turns] == [("user", "?"), ("assistant", "!")]
  assert chats.text_of(turns, "assistant") == "!" and chats.question_of(turns[:1]) == "?"
  assert chats.question_of(turns) == "User: ?\n\nAssistant: !"


def test_parts_with_media(make_row):
  parts = [
    {"type": "image_url", "image_url": {"url": "https://x/a.png"}},
    {"type": "image"},
    {"type": "text", "text": "look"},
    {"type": "video", "video": "a.mp4"},
  ]
  (turn,) = chats.turns(make_row({}), {"role": "user", "content": parts}, "chat")
  assert turn.text == "<image><image>look<video>"
  assert [m.source for m in chats.media_of([turn])] == ["https://x/a.png", "a.mp4"]


@pytest.mark.parametrize(
  "value",
  [
    None,
    [],
    "text",
    "[1",
    [5],
    [{"role": "x", "content": "?"}],
    [{"role": "user"}],
    [{"role": "user", "content": [{"type": "audio"}]}],
    [{"role": "user", "content": [5]}],
    [{"role": "user", "content": [{"type": "text", "text": None}]}],
    [{"role": "user", "content": {"type": 5}}],
  ],
)
def test_what_is_no_chat_is_named(make_row, value):
  with pytest.raises(BadRecord, match="file, record 3: field 'chat"):
    chats.turns(make_row({}), value, "chat")


def test_chats_are_told_from_texts():
  assert (
    chats.is_chat(CHAT) and chats.is_chat(CHAT[0]) and chats.is_chat([{"from": "", "value": 1}])
  )
  assert not any(map(chats.is_chat, (None, "x", [], ["x"], {"role": "user"}, {"bytes": b""})))


def test_text_that_is_json_of_no_parts_is_text(make_row):
  for text in ("[1, 2]", '[{"a": 1}]', "[]", '{"type": "text", "text": "?"}'):
    assert chats.turns(make_row({}), [{"role": "user", "content": text}], "chat")[0].text == text
