"""A judgement as a record that people read: in a run's samples/ and on its report's page."""

import base64
import io

from cot_rm import media

SIDE = 224  # pixels: what a picture on the page is shrunk to
FRAMES = 8  # of a video, evenly spread


def record(example, completion, verdict, rewards):
  """What the report shows of one judgement.

  Args:
    example, completion, verdict: schema's.
    rewards: {name: number}.
  """
  return {
    "id": example.id,
    "task": example.task,
    "question": example.question,
    "responses": list(example.responses),
    "gold": example.gold,
    "text": completion.text,
    "answer": verdict.answer,
    "rewards": {n: round(float(r), 4) for n, r in rewards.items()},
    "reasoning_ok": verdict.error or "",
    "media": [_urls(m, example.id) for m in example.media],
  }


def _urls(medium, name):
  """A data URL for an image, a list of them for the frames of a video."""
  if medium.kind == "image":
    return _url(media.picture(medium.source, name=name))
  video = media.video(medium.source, fps=medium.fps, name=name)
  step = max(video.count // FRAMES, 1)
  return [_url(frame) for frame in video.read(list(range(0, video.count, step))[:FRAMES])]


def _url(image):
  image = image.copy()
  image.thumbnail((SIDE, SIDE))
  out = io.BytesIO()
  image.save(out, "PNG")
  return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
