"""Layout `prompted`: a judge's rendered prompt and the right verdict, for RL.

R1-Reward-RL (arXiv:2505.02835): `message`, a chat as JSON, and `answer`, ["<answer>1</answer>"].
UnifiedReward's GRPO sets (arXiv:2505.03318) and their serving requests: `problem`, `solution`,
`images`, `image` or `video`. verl: `prompt`, a chat, and `reward_model`. EasyR1: `problem` and
`answer`.
"""

import dataclasses
from collections.abc import Iterator, Sequence

from cot_rm.data.datasets import chats, judged
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row, structured
from cot_rm.records import Record
from cot_rm.schema import Media


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  if "message" in record and isinstance(record.get("answer"), list | str):
    return True
  if "reward_model" in record and "prompt" in record:
    return True
  media = record.keys() & {*judged.IMAGE_FIELDS, *judged.VIDEO_FIELDS}
  return (
    isinstance(record.get("problem"), str)
    and bool(media or record.keys() & {"solution", "answer"})
    and "chosen" not in record
  )


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pair of a record."""
  if row.get("problem") is None and "message" in row.record:
    yield from _r1_reward(row)
  elif row.get("problem") is None and "reward_model" in row.record:
    yield from _verl(row)
  else:
    yield from judged.pair(row, row.text("problem"), solution=_solution(row, "solution", "answer"))


def _r1_reward(row: Row) -> Iterator[Pair | LeftOut]:
  media: Sequence[Media] | None = None
  if row.get("image") is not None:  # base64, beside a path of its makers' disk in the message
    media = [row.image(row.get("image"), "image")]
  chat_row = dataclasses.replace(row, files=None) if media else row
  chat = chats.turns(chat_row, row.get("message"), "message")
  known = row.get("question")
  yield from judged.pair(
    row,
    chats.text_of(chat, "user"),
    solution=_solution(row, "answer"),
    media=media or chats.media_of(chat) or None,
    known=known if isinstance(known, str) else "",
  )


def _verl(row: Row) -> Iterator[Pair | LeftOut]:
  chat = chats.turns(row, row.get("prompt"), "prompt")
  reward, extra = row.get("reward_model"), row.get("extra_info")
  if not isinstance(reward, dict):
    row.fail(f"field 'reward_model' must be an object, not {reward!r:.80}")
  extra = extra if isinstance(extra, dict) else {}
  solution = reward.get("ground_truth")
  known, source, number = extra.get("question"), row.get("data_source"), extra.get("index")
  yield from judged.pair(
    row,
    chats.text_of(chat, "user"),
    solution="" if solution is None else str(solution),
    media=chats.media_of(chat) or None,
    known=known if isinstance(known, str) else "",
    id=row.id() or (f"{extra.get('split') or 'row'}-{number}" if number is not None else ""),
    source=source if isinstance(source, str) else "",
  )


def _solution(row: Row, *names: str) -> str:
  """The verdict that a field has, alone or as the only element of a list; "" if it is missing."""
  value = structured(row.get(*names))
  if isinstance(value, list):
    if len({str(one) for one in value}) != 1:
      row.fail(f"field {names[0]!r} must have one verdict, not {value!r:.80}")
    value = value[0]
  if value is None:
    return ""
  if not isinstance(value, str | int) or not str(value).strip():
    row.fail(f"field {names[0]!r} must be a verdict, not {value!r:.80}")
  return str(value)
