"""Chats in records: turns with a role and a content of text or of parts, in the usual spellings."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from cot_rm.data.datasets import row as row_fields
from cot_rm.data.datasets.row import Row
from cot_rm.schema import Media

ROLES = {
  "user": "user",
  "human": "user",
  "assistant": "assistant",
  "gpt": "assistant",
  "model": "assistant",
  "bot": "assistant",
  "system": "system",
  "tool": "tool",
  "observation": "tool",
}


_TEXTS, _IMAGES = ("text", "input_text"), ("image", "image_url", "input_image")  # types of parts
_VIDEOS = ("video", "video_url")


class Turn(NamedTuple):
  """One turn of a chat."""

  role: str  # "user", "assistant", "system" or "tool"
  text: str  # with marks where its parts are media
  media: tuple[Media, ...]  # of its parts that name their media


def turns(row: Row, value: object, field: str) -> list[Turn]:
  """The turns of a chat: a list of turns, one turn, or JSON of either. Raises BadRecord."""
  value = row_fields.structured(value)
  if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
    try:
      value = json.loads(value, strict=False)
    except (ValueError, RecursionError) as error:
      row.fail(f"field {field!r}: no JSON: {error}")
  value = row_fields.listed(value)
  if isinstance(value, dict):
    value = [value]
  if not isinstance(value, list) or not value:
    row.fail(f"field {field!r} must be a list of turns, not {value!r:.80}")
  return [_turn(row, one, f"{field}[{i}]") for i, one in enumerate(value)]


def is_chat(value: object) -> bool:
  """Whether a value looks like a turn or a list of turns, or is JSON of either."""
  value = row_fields.structured(value)
  first = value[0] if isinstance(value, list) and value else value
  return isinstance(first, dict) and bool(
    ("role" in first and "content" in first) or ("from" in first and "value" in first)
  )


def text_of(chat: Sequence[Turn], role: str) -> str:
  """The texts of a role's turns, one paragraph each."""
  return "\n\n".join(turn.text for turn in chat if turn.role == role and turn.text.strip())


def media_of(chat: Sequence[Turn]) -> list[Media]:
  """The media that the parts of the turns name, in order."""
  return [one for turn in chat for one in turn.media]


def question_of(chat: Sequence[Turn]) -> str:
  """The question of a chat: the text of its only turn, or of all turns, with their roles."""
  said = [turn for turn in chat if turn.role in ("user", "assistant") and turn.text.strip()]
  if len(said) == 1:
    return said[0].text
  names = {"user": "User", "assistant": "Assistant"}
  return "\n\n".join(f"{names[turn.role]}: {turn.text}" for turn in said)


def answer_of(chat: Sequence[Turn]) -> str:
  """The answer of a chat behind its question; with roles where the user speaks again."""
  asked = any(turn.role == "user" for turn in chat)
  return question_of(chat) if asked else text_of(chat, "assistant")


def _turn(row: Row, one: Any, field: str) -> Turn:
  if not isinstance(one, dict):
    row.fail(f"field {field!r} must be a turn, not {one!r:.80}")
  role, content = (
    next((one[name] for name in names if one.get(name) is not None), None)
    for names in (("role", "from"), ("content", "value"))
  )
  known = ROLES.get(str(role).strip().lower())
  if known is None:
    row.fail(f"field {field!r}: unknown role {role!r:.80}")
  content = _parts_of(content)
  if isinstance(content, str):
    return Turn(known, content, ())
  if not isinstance(content, list):
    row.fail(f"field {field!r}: its content must be text or a list of parts, not {content!r:.80}")
  texts, media = [], []
  for text, medium in _parts(row, content, field):
    texts.append(text)
    media += [medium] if medium else []
  return Turn(known, "".join(texts), tuple(media))


def _parts_of(content: Any) -> Any:
  """The parts of a content that is one part, or text that holds parts; else the content itself."""
  if isinstance(content, dict):
    return [content]
  parts = row_fields.structured(content)
  found = isinstance(parts, list) and parts and all(map(_is_part, parts))
  return parts if found else content


def _is_part(part: Any) -> bool:
  return isinstance(part, dict) and _type(part) in (*_TEXTS, *_IMAGES, *_VIDEOS)


def _type(part: dict) -> str | None:
  given = part.get("type")
  if isinstance(given, str) and given.strip():
    return given.strip().lower()
  return next((name for name in ("text", "image", "video") if part.get(name)), None)


def _parts(row: Row, content: list, field: str) -> Iterator[tuple[str, Media | None]]:
  for part in content:
    if isinstance(part, str):
      yield part, None
      continue
    if not isinstance(part, dict):
      row.fail(f"field {field!r}: a part must be an object, not {part!r:.80}")
    kind = _type(part)
    if kind in _TEXTS:
      text = part.get("text")
      if not isinstance(text, str):
        row.fail(f"field {field!r}: the text of a part must be text, not {text!r:.80}")
      yield text, None
    elif kind in _IMAGES:
      yield "<image>", _medium(part, ("image", "image_url", "url", "path"), row.image, field)
    elif kind in _VIDEOS:
      yield "<video>", _medium(part, ("video", "video_url", "url", "path"), row.video, field)
    else:
      row.fail(f"field {field!r}: unknown part {part.get('type')!r:.80}")


def _medium(part: dict, names: Sequence[str], make: Any, field: str) -> Media | None:
  value = next((part[name] for name in names if part.get(name)), None)
  if value is None:
    return None
  if isinstance(value, dict) and value.keys() == {"url"}:
    value = value["url"]
  return make(value, field)
