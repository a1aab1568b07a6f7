"""Judgements as records for people: in a run's samples/ folder and on its report page."""

from collections.abc import Mapping

from absl import logging

from cot_rm import media
from cot_rm.schema import BadMedia, Completion, Example, Media, Verdict

SIDE = 224  # pixels: longer side of a stored picture, at most
FRAMES = 8  # of a video, evenly spread


def to_record(
  example: Example,
  completion: Completion,
  verdict: Verdict,
  rewards: Mapping[str, float],
  *,
  options: media.Options = media.DEFAULT,
) -> dict[str, object]:
  """The record of one judgement, for JSON.

  Pictures are small PNG data URLs; `options` says how they are opened. A medium that cannot be read
  any more, such as one on the network, has no pictures: the judgement about it stands.
  """
  return {
    "id": example.id,
    "task": example.task,
    "question": example.question,
    "responses": list(example.responses),
    "gold": example.gold,
    "text": completion.text,
    "answer": verdict.answer,
    "rewards": {name: round(float(reward), 4) for name, reward in rewards.items()},
    "reasoning_ok": verdict.error or "",
    "media": [_data_urls(medium, f"example {example.id!r}", options) for medium in example.media],
    **({"places": [[*of] for of in example.places]} if example.places else {}),
  }


def _data_urls(medium: Media, name: str, options: media.Options) -> str | list[str]:
  """A data URL of an image, a list of data URLs of the frames of a video; [] if it is not there."""
  try:
    if medium.kind == "image":
      return media.thumbnail_url(media.picture(medium.source, name=name, options=options), SIDE)
    video = media.video(medium.source, fps=medium.fps, name=name, options=options)
    step = max(video.count // FRAMES, 1)
    frames = video.read(list(range(0, video.count, step))[:FRAMES])
  except BadMedia as error:
    logging.warning("a sample is shown without its picture: %s", error)
    return []
  return [media.thumbnail_url(frame, SIDE) for frame in frames]
