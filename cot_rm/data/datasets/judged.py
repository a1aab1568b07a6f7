"""Pairs from a judge's prompt, its media and its answer: what most sets for judges are made of."""

from collections.abc import Iterator, Sequence
from typing import Any

from cot_rm.data.datasets import compared, judge_prompts, media_files
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row, structured
from cot_rm.schema import Choice, Media

VIDEO_FIELDS = ("videos", "video", "video_path")
IMAGE_FIELDS = ("images", "image", "image_path", "img_path", "image_paths")


def pair(
  row: Row,
  prompt: str,
  *,
  answer: str = "",
  solution: str = "",
  media: Sequence[Media] | None = None,
  known: str = "",
  id: str = "",
  source: str = "",
) -> Iterator[Pair | LeftOut]:
  """The pair that a prompt asks about.

  Args:
    row: the record.
    prompt: the user's turn.
    answer: the judge's, "" if there is none. With tags it is kept as the reference judgement.
    solution: the verdict alone, as the record has it besides, "" if it has none.
    media: what the prompt shows; None: those in the record's fields.
    known: the question, where the record has it apart from the prompt.
    id, source: of the pair.
  """
  shown = list(media) if media is not None else fields(row)
  kind = "video" if any(one.kind == "video" for one in shown) else "image"
  if "video" in judge_prompts.marks(prompt):
    kind = "video"
  asked = judge_prompts.question(row, prompt, kind, known)
  if isinstance(asked, LeftOut):
    yield asked
    return
  if asked.responses and compared.same_text(*asked.responses):
    yield compared.SAME
    return
  verdicts = {text: judge_prompts.verdict(text, asked.task) for text in (answer, solution) if text}
  gold: Choice | None = None
  tie = False
  for found in verdicts.values():
    if isinstance(found, LeftOut):
      if found.reason == "tie" and row.options.ties == "keep":
        tie = True
        continue
      yield found
      return
    if gold not in (None, found):
      yield LeftOut("the answer's verdict is not the record's solution")
      return
    gold = found
  judge_prompts.check_media(row, prompt, shown)
  question = judge_prompts.without_marks(asked.question)
  first, *rest = _candidates(row, asked, shown)
  yield Pair(
    task=asked.task,
    question=question,
    candidates=(first, rest[0]) if not asked.responses else tuple(asked.responses),
    gold=gold,
    tie=tie and gold is None,
    media=() if not asked.responses else (first, *rest) if first is not None else (),
    reasoning=answer if answer and judge_prompts.grammar_of(answer, asked.task) else None,
    id=id or row.id(),
    source=source,
    extra={"answer": answer} if answer and not judge_prompts.grammar_of(answer, asked.task) else {},
  )


def fields(row: Row) -> list[Media]:
  """The media of a record's usual fields: videos, then images."""
  shown: list[Media] = []
  for names, one in ((VIDEO_FIELDS, row.video), (IMAGE_FIELDS, row.image)):
    name, value = next(((n, v) for n in names if (v := _given(row.record.get(n)))), ("", None))
    if not name:
      continue
    several = isinstance(value, list | tuple) and not (
      name in ("video", "video_path") and len(value) > 1  # the frames of one video
    )
    for element in value if several else [value]:
      if one == row.image and media_files.is_video_file(element):
        shown.append(row.video(element, name))
      else:
        shown.append(one(element, name))
  return shown


def _given(value: Any) -> Any:
  """The value of a field of media, which may be a list as text; None if it names no medium.

  A list that names some is given whole: an element that is missing is an error.
  """
  value = structured(value)
  empty = isinstance(value, list) and all(one in (None, "") for one in value)
  return None if empty else value


def _candidates(row: Row, asked: judge_prompts.Question, shown: Sequence[Media]) -> list:
  """The media as the task has them: pictures that are the frames of videos become videos."""
  pictures = [one for one in shown if one.kind == "image"]
  frames = asked.task.startswith("video") and len(pictures) == len(shown)
  if asked.responses:
    if frames and pictures:
      return [_video(pictures)]
    return [*shown] or [None]
  if frames and len(shown) > 2 or frames and len(shown) == 2:
    if len(shown) % 2:
      row.fail(f"{len(shown)} frames cannot be two videos of the same length")
    half = len(shown) // 2
    return [_video(pictures[:half]), _video(pictures[half:])]
  if len(shown) != 2:
    row.fail(f"{asked.task} compares two {asked.task.split('_')[0]}s; found {len(shown)}")
  return list(shown)


def _video(pictures: Sequence[Media]) -> Media:
  return Media("video", tuple(picture.source for picture in pictures))
