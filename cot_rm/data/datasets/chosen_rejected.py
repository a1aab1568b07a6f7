"""Layout `chosen_rejected`: a question, its media, a chosen and a rejected answer.

MM-RLHF's dpo_pairs.jsonl (arXiv:2502.10391), ShareGPTVideo-DPO (arXiv:2404.01258), UnifiedReward's
sets for DPO (arXiv:2503.05236), R1-Reward's copy of VL-RewardBench, TRL's standard format, the
alpaca format of LLaMA-Factory and the earlier one of ms-swift, both with a `history`. Where
`chosen` and `rejected` are pictures or videos, they are the candidates of a generation task
(open-image-preferences, UnifiedReward's VideoDPO).
"""

from collections.abc import Iterator

from cot_rm.data.datasets import chats, compared, judge_prompts, judged, media_files
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record
from cot_rm.schema import Media

QUESTIONS = ("prompt", "question", "query", "instruction", "caption", "problem", "text", "input")
CANDIDATES = (("chosen", "rejected"), ("response", "rejected_response"))  # ms-swift, earlier
KEPT = (
  "chosen_score",
  "rejected_score",
  "margin",
  "category",
  "origin_dataset",
  "dataset",
  "model",
  "video",
)


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  texts = any(
    better in record and worse in record and not chats.is_chat(record[better])
    for better, worse in CANDIDATES
  )
  chat = any(chats.is_chat(record.get(name)) for name in ("prompt", "conversations", "messages"))
  question = any(isinstance(record.get(name), str) for name in QUESTIONS)
  return texts and question and not chat and not {"ds_name", "origin_split"} & record.keys()


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pair of a record."""
  names = next((two for two in CANDIDATES if row.get(two[1]) is not None), CANDIDATES[0])
  chosen, rejected = (row.get(name) for name in names)
  if chosen is None or rejected is None:
    row.fail(f"field {names[chosen is not None]!r} is missing")
  if _is_medium(chosen) and _is_medium(rejected):
    yield _generation(row, chosen, rejected)
    return
  yield from answers(row, _question(row), chosen, rejected, judged.fields(row))


def answers(
  row: Row, question: str, chosen: object, rejected: object, media: list[Media], source: str = ""
) -> Iterator[Pair | LeftOut]:
  """The pair of two answers to a question about media."""
  judge_prompts.check_media(row, question, media)
  if compared.same_text(chosen, rejected):
    yield compared.SAME
    return
  video = any(one.kind == "video" for one in media)
  yield Pair(
    task="video_understanding" if video else "image_understanding",
    question=judge_prompts.without_marks(question),
    candidates=(chosen, rejected),
    gold=1,
    media=tuple(media),
    shuffled=True,
    id=row.id(),
    source=source,
    extra=row.extra(*KEPT),
  )


def _question(row: Row) -> str:
  """The question with the input of its instruction, and behind the turns before it."""
  question = row.text(*QUESTIONS)
  if row.record.get("instruction") is not None and isinstance(row.record.get("input"), str):
    question = "\n".join(part for part in (question, row.record["input"]) if part.strip())
  chat = []
  for two in row.items("history") if row.get("history") is not None else ():
    if not isinstance(two, list) or len(two) != 2 or not all(isinstance(t, str) for t in two):
      row.fail(f"field 'history' must have pairs of a question and its answer, not {two!r:.80}")
    chat += [chats.Turn("user", two[0], ()), chats.Turn("assistant", two[1], ())]
  return chats.question_of([*chat, chats.Turn("user", question, ())])


def _generation(row: Row, chosen: object, rejected: object) -> Pair:
  video = media_files.names_media(chosen, media_files.VIDEO_SUFFIXES)
  make = row.video if video else row.image
  return Pair(
    task="video_generation" if video else "image_generation",
    question=row.text("caption", *QUESTIONS),
    candidates=(make(chosen, "chosen"), make(rejected, "rejected")),
    gold=1,
    shuffled=True,
    id=row.id(),
    extra=row.extra(*KEPT),
  )


def _is_medium(value: object) -> bool:
  """Whether a candidate is a picture or video: bytes, {"bytes": ...}, or a path with its suffix."""
  suffixes = (*media_files.VIDEO_SUFFIXES, *media_files.PICTURE_SUFFIXES)
  if isinstance(value, dict):
    return "bytes" in value or "path" in value
  return isinstance(value, bytes) or media_files.names_media(value, suffixes)
