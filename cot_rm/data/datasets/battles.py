"""Layout `battles`: two models' chats and the winner, as arenas publish them.

WildVision-Battle (arXiv:2406.11069) and data like Chatbot Arena's: conversation_a, conversation_b,
image or images, and winner: model_a, model_b, tie, or tie (bothbad). The turns that both chats
begin with are the question; what follows is the answer.
"""

import itertools
from collections.abc import Iterator

from cot_rm.data.datasets import chats, compared, judge_prompts, judged
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record
from cot_rm.schema import Choice

CHATS = ("conversation_a", "conversation_b")


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  return {*CHATS, "winner"} <= record.keys()


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pair of a record."""
  both = [chats.turns(row, row.get(name), name) for name in CHATS]
  same = itertools.takewhile(lambda two: two[0] == two[1], zip(*both, strict=False))
  asked = [turn for turn, _ in same]
  first, second = (chats.answer_of(chat[len(asked) :]) for chat in both)
  if not any(turn.role == "user" for turn in asked):
    row.fail("the two conversations do not begin with the same question")
  question, media = chats.question_of(asked), chats.media_of(asked) or judged.fields(row)
  judge_prompts.check_media(row, question, media)
  yield from compared.labelled(
    row,
    "image_understanding",
    judge_prompts.without_marks(question),
    (first, second),
    _winner(row),
    media=tuple(media),
    extra=row.extra("model_a", "model_b", "judge", "language", "domain"),
  )


def _winner(row: Row) -> Choice | LeftOut:
  winner = row.label("winner")
  if winner in ("model_a", "model_b"):
    return 1 if winner == "model_a" else 2
  if "tie" not in winner and "bad" not in winner:
    row.fail(f"field 'winner' must be model_a, model_b or a tie, not {row.get('winner')!r:.80}")
  both_bad = "bad" in winner and row.options.ties == "drop"
  return LeftOut("both are bad" if both_bad else "tie")
