"""Layout `conversations`: chats of a judge, and chats with a second, rejected answer.

A judge's prompt with its answer: UnifiedReward's sets for SFT (arXiv:2503.05236, 2505.03318) and
VideoDPO's for Qwen, LLaVA-Critic (arXiv:2410.02712), the formats of LLaVA, ms-swift and
LLaMA-Factory for SFT. A rejected answer: LLaMA-Factory's format for preferences (`chosen`,
`rejected`), ms-swift's (`rejected_response`, `rejected_messages`, `rejected_images`), POVID's
(arXiv:2402.11411; `rejected_conversations`).
"""

from collections.abc import Iterator, Sequence

from cot_rm.data.datasets import chats, chosen_rejected, judge_prompts, judged
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record
from cot_rm.schema import Media

CHATS = ("rejected_messages", "rejected_conversations")
REJECTED = ("rejected_response", *CHATS, "rejected_images", "rejected_videos")


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  chat = record.get("conversations", record.get("messages"))
  if isinstance(chat, dict):  # an object of lists
    return "from" in chat or "role" in chat
  points = "text prompt" in record and "visual quality" in record  # VideoFeedback
  return chats.is_chat(chat) and not points


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pair of a record."""
  names = [one for one in ("conversations", "messages") if one in row.record]
  name = next((one for one in names if row.get(one) is not None), [*names, "conversations"][0])
  chat = chats.turns(row, row.get(name), name)
  if row.get("chosen") is not None or row.get("rejected") is not None:
    yield from _chosen(row, chat)
  elif row.get(*REJECTED) is not None:
    yield from _rejected(row, chat)
  else:
    yield from _judged(row, chat)


def _judged(row: Row, chat: Sequence[chats.Turn]) -> Iterator[Pair | LeftOut]:
  user = [turn for turn in chat if turn.role == "user"]
  said = [turn for turn in chat if turn.role == "assistant"]
  if len(user) != 1 or len(said) > 1:
    row.fail(f"a judge is asked and answers once; found {len(user)} questions, {len(said)} answers")
  source = row.get("source")
  yield from judged.pair(
    row,
    user[0].text,
    answer=said[0].text if said else "",
    solution=row.text("solution") if row.get("solution") is not None else "",
    media=chats.media_of(chat) or None,
    source=source if isinstance(source, str) else "",
  )


def _chosen(row: Row, chat: Sequence[chats.Turn]) -> Iterator[Pair | LeftOut]:
  answers = []
  for name in ("chosen", "rejected"):
    value = row.get(name)
    if isinstance(value, str):
      answers.append(value)
    else:
      answers.append(chats.text_of(chats.turns(row, value, name), "assistant"))
  media = chats.media_of(chat) or judged.fields(row)
  yield from chosen_rejected.answers(row, chats.question_of(chat), *answers, media)


def _rejected(row: Row, chat: Sequence[chats.Turn]) -> Iterator[Pair | LeftOut]:
  if chat[-1].role != "assistant":
    row.fail("the last turn must be the chosen answer")
  *prompt, answer = chat
  question = chats.question_of(prompt)
  if (mark := answer.text.strip().lower()) in ("<image>", "<video>"):
    yield _generation(row, prompt, mark, question)
    return
  rejected = row.get("rejected_response")
  if rejected is None and (value := row.get(*CHATS)) is not None:
    rejected = chats.turns(row, value, next(n for n in CHATS if row.get(n) is not None))[-1].text
  media = chats.media_of(prompt) or judged.fields(row)
  for text in rejected if isinstance(rejected, list) else [rejected]:
    if not isinstance(text, str):
      row.fail(f"field 'rejected_response' must be text, not {text!r:.80}")
    yield from chosen_rejected.answers(row, question, answer.text, text, media)


def _generation(row: Row, prompt: Sequence[chats.Turn], mark: str, question: str) -> Pair | LeftOut:
  """A pair of generated pictures: the last of `images` against the last of `rejected_images`."""
  kind = mark[1:-1]
  both = [_last(row, name, kind) for name in (f"{kind}s", f"rejected_{kind}s")]
  if judge_prompts.marks(question):
    return LeftOut("edited: its source cannot be shown beside the candidates")
  return Pair(
    task="image_generation" if kind == "image" else "video_generation",
    question=judge_prompts.without_marks(question),
    candidates=(both[0], both[1]),
    gold=1,
    shuffled=True,
    id=row.id(),
  )


def _last(row: Row, name: str, kind: str) -> Media:
  value = row.get(name)
  values = value if isinstance(value, list) else [value]
  if not values or values[-1] is None:
    row.fail(f"field {name!r} is missing")
  return (row.image if kind == "image" else row.video)(values[-1], name)
