"""The parts of a chat's messages, in every dialect, as parts of one form"""

from collections.abc import Mapping
from typing import NamedTuple

from cot_rm.media import sources
from cot_rm.schema import BadExample, Chat, Kind, check_text

Part = Mapping[str, object]

TEXTS = ("text", "input_text", "output_text")
# The types of parts: transformers', Qwen's, OpenAI's (chat and responses), vLLM's.
TYPES: dict[str, Kind] = {
  "image": "image",
  "image_url": "image",
  "input_image": "image",
  "video": "video",
  "video_url": "video",
  "input_video": "video",
}
# Where a part has its source: the first that has a value.
KEYS: dict[Kind, tuple[str, ...]] = {
  "image": ("image", "image_url", "base64", "path", "url", "source", "bytes"),
  "video": ("video", "video_url", "base64", "path", "url", "source", "bytes"),
}


class Turn(NamedTuple):
  """One message."""

  role: str
  content: str | list[Part]  # as `normalised`


def turns(messages: Chat, *, name: str) -> list[Turn]:
  """The messages of a chat, their parts in one form.

  Args:
    messages: [{"role", "content"}]; content is a string or parts, see `normalised`.
    name: the sample's name in errors, e.g. "example 'vl-17'".

  Raises BadExample for a message or a part that is none, or a text that is not Unicode.
  """
  out: list[Turn] = []
  if not len(messages):
    raise BadExample(f"{name}: a chat without a message")
  for message in messages:
    if not isinstance(message, Mapping):
      raise BadExample(
        f"{name}: a message must be a dict of role and content, not {type(message).__name__}"
      )
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str):
      raise BadExample(f"{name}: a message has the role {role!r}")
    if isinstance(content, str):
      check_text(content, name)
      out.append(Turn(role, content))
    elif isinstance(content, list | tuple):
      out.append(Turn(role, [normalised(part, name=name) for part in content]))
    else:
      raise BadExample(
        f"{name}: content must be text or a list of parts, not {type(content).__name__}"
      )
  return out


def normalised(part: object, *, name: str) -> Part:
  """A part in one form: {"type": "text", "text": ...} or {"type": kind, kind: source, ...}.

  The kind is "image" or "video". Other keys of a part of media (min_pixels, fps, ...) are kept.
  Forms: {"type": "image", "image" or "path" or "url" or "base64": source};
  {"type": "image_url", "image_url": {"url": source} or source}; {"type": "input_image",
  "image_url": source}; {"type": "image", "source": {"data" or "url": ...}}; the same for videos;
  Qwen's {"image": source} without a type.

  Raises BadExample for a part that is none of them.
  """
  if not isinstance(part, Mapping):
    raise BadExample(f"{name}: a content part must be a dict, not {type(part).__name__}")
  kind = part.get("type")
  if kind is None:
    kind = next((key for key in ("text", *TYPES) if key in part), None)
  if kind in TEXTS:
    text = part.get("text")
    if not isinstance(text, str):
      raise BadExample(f"{name}: a text part holds {type(text).__name__}, not a string")
    check_text(text, name)
    return {"type": "text", "text": text}
  if not isinstance(kind, str) or kind not in TYPES:
    raise BadExample(f"{name}: unknown content part {kind!r}; known: text, {', '.join(TYPES)}")
  return _medium(part, TYPES[kind], kind, name)


def _medium(part: Part, kind: Kind, given: str, name: str) -> Part:
  keys = [*dict.fromkeys((*KEYS[kind], given))]
  key = next((key for key in keys if part.get(key) is not None), None)
  if key is None:
    raise BadExample(f"{name}: a part of type {given!r} has no {kind}: none of {', '.join(keys)}")
  source = part[key]
  if isinstance(source, Mapping):
    source = sources.unwrapped(source, name=name)
  elif key == "base64" and isinstance(source, str) and not sources.scheme(source):
    source = sources.decode_base64(source, name=name)
  knobs = {other: value for other, value in part.items() if other not in (*keys, "type")}
  return {"type": kind, kind: source, **knobs}
