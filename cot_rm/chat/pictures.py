"""Chats as the OpenAI protocol has them: every picture a JPEG in a data URL."""

import base64
import dataclasses
import io
import math

from PIL import Image

from cot_rm import media

LONGEST_COMMENT = 65_533  # bytes: what a JPEG's comment holds


@dataclasses.dataclass(frozen=True)
class Pictures:
  """How pictures are sent."""

  quality: int = 95  # of the JPEG, as UnifiedReward's client sends it
  max_pixels: int = 501_760  # a larger picture is shrunk to this; R1-Reward's 640 visual tokens
  max_frames: int = 8  # of a video, evenly spread; UnifiedReward's evaluation shows 8

  def __post_init__(self):
    if not 1 <= self.quality <= 100:
      raise ValueError(f"pictures.quality is {self.quality}; it can be 1 to 100")
    if self.max_pixels < 1 or self.max_frames < 1:
      raise ValueError("pictures.max_pixels and pictures.max_frames must be 1 or more")


def wire(messages, settings, *, name):
  """A chat of ours as it is sent: text as it is, an image as a JPEG, a video as its frames.

  The frames of a video stand behind a line that says which video they are and how many. A picture's
  own comment (JPEG's, or a PNG's text "Comment") goes with it, unless it is longer than a JPEG can
  hold.

  Args:
    messages: [{"role", "content"}], content a text or parts of type text, image and video.
    settings: Pictures.
    name: how errors call the sample, e.g. "example 'vl-17'".
  Raises ValueError, naming the sample, on a picture that cannot be read or an unknown part.
  """
  out, videos = [], 0
  for message in messages:
    if isinstance(message["content"], str):
      out.append({"role": message["role"], "content": message["content"]})
      continue
    parts = []
    for part in message["content"]:
      if part["type"] == "text":
        parts.append({"type": "text", "text": part["text"]})
      elif part["type"] == "image":
        parts.append(_part(part["image"], settings, name))
      elif part["type"] == "video":
        videos += 1
        frames = _frames(part, settings, name)
        parts.append({"type": "text", "text": f"Video {videos}, {len(frames)} frames:"})
        parts += [_part(frame, settings, f"{name}: video {videos}") for frame in frames]
      else:
        raise ValueError(f"{name}: a part of type {part['type']!r}; known: text, image, video")
    out.append({"role": message["role"], "content": parts})
  return out


def _frames(part, settings, name):
  source = part["video"]
  if isinstance(source, (list, tuple)):  # as they came, with their comments
    return [source[at] for at in _spread(len(source), settings.max_frames)]
  video = media.video(source, fps=part.get("fps"), name=name)
  return video.read(_spread(video.count, settings.max_frames))


def _spread(count, most):
  """At most `most` of `count` numbers, evenly spread, the first and the last among them."""
  if count <= most:
    return list(range(count))
  return [round(at * (count - 1) / max(most - 1, 1)) for at in range(most)]


def _part(source, settings, name):
  image = media.picture(source, name=name)
  comment = image.info.get("comment", image.info.get("Comment", b""))
  comment = comment.encode() if isinstance(comment, str) else comment
  if image.width * image.height > settings.max_pixels:
    scale = math.sqrt(settings.max_pixels / (image.width * image.height))
    size = (max(int(image.width * scale), 1), max(int(image.height * scale), 1))
    image = image.resize(size, Image.Resampling.BICUBIC)
  out = io.BytesIO()
  comment = comment if len(comment) <= LONGEST_COMMENT else b""
  image.save(out, "JPEG", quality=settings.quality, comment=comment)
  url = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
  return {"type": "image_url", "image_url": {"url": url}}
