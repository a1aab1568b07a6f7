"""Encodes chats for the OpenAI protocol: pictures and video frames as JPEG data URLs."""

import base64
import dataclasses
import io
import math

from PIL import Image

from cot_rm import media, schema
from cot_rm.schema import BadExample, BadMedia, Chat, ImageSource, Message

LONGEST_COMMENT = 65_533  # bytes that a JPEG comment can hold
LONGEST_SIDE = 65_500  # pixels along a side of a JPEG


@dataclasses.dataclass(frozen=True)
class Pictures:
  """How pictures and videos are sent. Raises ValueError on a value out of range."""

  quality: int = 95  # of the JPEG, 1 to 100; UnifiedReward's client sends 95
  max_pixels: int = 501_760  # larger pictures are shrunk to it; 640 visual tokens, as R1-Reward
  max_frames: int = 8  # of a video, evenly spread; UnifiedReward's evaluation shows 8
  options: media.Options = media.DEFAULT  # how media are opened

  def __post_init__(self) -> None:
    if not 1 <= self.quality <= 100:
      raise ValueError(f"pictures.quality is {self.quality}; it must be 1 to 100")
    for name in ("max_pixels", "max_frames"):
      if getattr(self, name) < 1:
        raise ValueError(f"pictures.{name} is {getattr(self, name)}; it must be 1 or more")


def openai_messages(messages: Chat, settings: Pictures, *, name: str) -> list[Message]:
  """Encodes a chat: text unchanged, an image as a JPEG, a video as JPEGs of its frames.

  A JPEG is a part {"type": "image_url", "image_url": {"url": a data URL}}.

  A line of text before the frames of a video gives its number and its number of frames. A picture's
  own comment (a JPEG comment, or the "Comment" text of a PNG) is kept, unless it is longer than
  LONGEST_COMMENT.

  Args:
    messages: a chat as prompts.render makes it, or of another dialect, see media.parts.
    settings: size and quality of the JPEGs.
    name: name of the sample in error messages, e.g. "example 'vl-17'".

  Raises:
    BadMedia: a picture or video that cannot be read; names the sample.
    BadExample: an unknown type of part.
  """
  out, videos = [], 0
  for role, content in media.turns(messages, name=name):
    if isinstance(content, str):
      out.append({"role": role, "content": content})
      continue
    parts = []
    for part in content:
      if part["type"] == "text":
        parts.append(part)
      elif part["type"] == "image":
        parts.append(_image_part(part["image"], settings, name))
      else:
        videos += 1
        frames = _frames(part, settings, f"{name}: video {videos}")
        parts.append({"type": "text", "text": f"Video {videos}, {len(frames)} frames:"})
        parts += [_image_part(frame, settings, f"{name}: video {videos}") for frame in frames]
    out.append({"role": role, "content": parts})
  return out


def _frames(part: media.Part, settings: Pictures, name: str) -> list[Image.Image]:
  video = media.video(part["video"], fps=part.get("fps"), name=name, options=settings.options)
  first, last = 0, video.count - 1
  if video.is_file and video.fps:  # as the judge is shown it, see media.sampled_frames
    fields = {key: part[key] for key in ("video_start", "video_end") if part.get(key) is not None}
    for key, value in fields.items():
      if fault := schema.media_setting_fault("video", key, value):
        raise BadExample(f"{name}: {fault}")
    first, last = media.frame_range(video.count, video.fps, fields, name)
  spread = _evenly_spread(last - first + 1, settings.max_frames)
  return [*video.read([first + number for number in spread])]


def _evenly_spread(count: int, limit: int) -> list[int]:
  """Up to `limit` indices below `count`, evenly spread, with the first and the last."""
  if count <= limit:
    return list(range(count))
  return [round(i * (count - 1) / max(limit - 1, 1)) for i in range(limit)]


def _image_part(source: ImageSource, settings: Pictures, name: str) -> media.Part:
  image = media.picture(source, name=name, options=settings.options)
  comment = image.info.get("comment", image.info.get("Comment", b""))
  comment = comment.encode(errors="replace") if isinstance(comment, str) else comment
  if image.width * image.height > settings.max_pixels:
    scale = math.sqrt(settings.max_pixels / (image.width * image.height))
    size = (max(int(image.width * scale), 1), max(int(image.height * scale), 1))
    image = image.resize(size, Image.Resampling.BICUBIC)
  if max(image.size) > LONGEST_SIDE:
    raise BadMedia(
      f"{name}: a picture of {image.width:,}x{image.height:,} pixels cannot be sent: a JPEG has at "
      f"most {LONGEST_SIDE:,} along a side; crop it first"
    )
  out = io.BytesIO()
  comment = comment if len(comment) <= LONGEST_COMMENT else b""
  image.save(out, "JPEG", quality=settings.quality, comment=comment)
  url = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
  return {"type": "image_url", "image_url": {"url": url}}
