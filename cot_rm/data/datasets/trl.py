"""Layout `trl`: TRL's conversational preferences, with an explicit or an implicit prompt.

`chosen` and `rejected` are turns. Both begin with the turns of the question, or it is in `prompt`
alone. Media are in `images` or `videos`, or in the parts of the turns.
"""

import itertools
from collections.abc import Iterator

from cot_rm.data.datasets import chats, chosen_rejected, judged
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  if not {"chosen", "rejected"} <= record.keys() or {"conversations", "messages"} & record.keys():
    return False
  return any(chats.is_chat(record.get(name)) for name in ("prompt", "chosen", "rejected"))


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pair of a record."""
  both = [_answer(row, name) for name in ("chosen", "rejected")]
  if row.get("prompt") is None or all(chat[0].role != "assistant" for chat in both):
    same = itertools.takewhile(lambda two: two[0] == two[1], zip(*both, strict=False))
    prompt = [turn for turn, _ in same]
    both = [chat[len(prompt) :] for chat in both]
  elif isinstance(row.get("prompt"), str) and not chats.is_chat(row.get("prompt")):
    prompt = [chats.Turn("user", row.text("prompt"), ())]
  else:
    prompt = chats.turns(row, row.get("prompt"), "prompt")
  if not any(turn.role == "user" for turn in prompt):
    row.fail(
      "there is no question: neither in 'prompt' nor at the start of 'chosen' and 'rejected'"
    )
  answers = [chats.answer_of(chat) for chat in both]
  media = chats.media_of(prompt) or judged.fields(row)
  yield from chosen_rejected.answers(row, chats.question_of(prompt), *answers, media)


def _answer(row: Row, name: str) -> list[chats.Turn]:
  value = row.get(name)
  if isinstance(value, str) and not chats.is_chat(value):
    return [chats.Turn("assistant", value, ())]
  return chats.turns(row, value, name)
