"""From chat messages to Encoded: template, tokens, patches, positions.

T tokens, P patches, M merged patches, C numbers in a patch.
"""

import dataclasses
import pathlib
import re

import numpy as np

from cot_rm import media
from cot_rm.batch import Encoded
from cot_rm.models.qwen2_5_vl import config as config_lib
from cot_rm.models.qwen2_5_vl import mrope as mrope_lib
from cot_rm.models.qwen2_5_vl import pixels, windows
from cot_rm.models.qwen2_5_vl import settings as settings_lib

ROLES = ("system", "user", "assistant")
SOURCES = {"image": ("image", "image_url", "path", "url"), "video": ("video", "path", "url")}


@dataclasses.dataclass(frozen=True)
class _Seen:
  """One picture or video, as the prompt needs it."""

  token: int  # the pad token that stands for each of its merged patches
  grid: tuple[int, int, int]  # frames, rows, columns of merged patches
  seconds: float | None
  patches_PC: np.ndarray


class Processor:
  """Tokenizer, chat template and picture settings of one checkpoint.

  Attributes:
    settings: the settings.Settings in force.
    vocab_size: tokens the tokenizer knows; the model's table may be longer.
    end_of_turn: the token that ends a turn.
    stop_ids: tokens after which nothing is sampled.
    banned_ids: tokens that are never sampled: those of pictures.
  """

  def __init__(self, folder, config, settings, tokenizer):
    self.folder, self.config, self.settings = folder, config, settings
    self._tokenizer = tokenizer
    self.vocab_size = len(tokenizer)
    self.end_of_turn = tokenizer.convert_tokens_to_ids(settings_lib.END_OF_TURN)
    self.stop_ids = settings_lib.stop_ids(folder, tokenizer, self.end_of_turn)
    self.banned_ids = (
      config.image_token_id,
      config.video_token_id,
      config.vision_start_token_id,
      config.vision_end_token_id,
    )
    control = [
      str(token)
      for token in tokenizer.added_tokens_decoder.values()
      if token.special or str(token).startswith("<|")
    ]
    self._control = re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))))
    self._pixel_values = pixels.table(
      rescale=settings.rescale_factor, mean=settings.image_mean, std=settings.image_std
    )

  @classmethod
  def load(cls, folder, *, min_pixels=None, max_pixels=None, fps=None, max_frames=None, mrope=None):
    """The processor of a checkpoint folder (Hugging Face's layout). Nothing is downloaded.

    Args:
      folder: holds config.json, the tokenizer's files, and preprocessor_config.json or
        processor_config.json.
      min_pixels, max_pixels: bounds of a picture's area, and of each frame's of a video.
      fps: frames per second that are looked at. None here as above: as the folder says.
      max_frames: frames that are looked at, of one video.
      mrope: "hf4" or "hf5", see mrope.positions. None: as saved, else "hf4".
    Raises FileNotFoundError where a file is missing, ValueError where files disagree.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
      raise FileNotFoundError(f"no such checkpoint folder: {str(folder)!r}")
    config = config_lib.from_hf(settings_lib.load_json(folder, "config.json"))
    given = dict(
      min_pixels=min_pixels, max_pixels=max_pixels, fps=fps, max_frames=max_frames, mrope=mrope
    )
    settings = settings_lib.read(
      folder, config.vision, {knob: value for knob, value in given.items() if value is not None}
    )
    return cls(folder, config, settings, settings_lib.load_tokenizer(folder, config))

  def save(self, folder):
    """Writes what `load` needs to give an equal processor. A config.json already there stays."""
    settings_lib.write(folder, self.settings, self.config.vision, source=self.folder)

  def encode(self, text, *, name="text"):
    """Token ids of plain text, nothing added.

    Raises ValueError where it holds a control token or a character that the vocabulary lacks;
    `name` is how the error calls the sample.
    """
    self._refuse_control(text, name)
    return self._ids(text, name)

  def decode(self, tokens):
    """The text of token ids, control tokens left out."""
    # The tokenizer itself: transformers' wrapper first looks at each number, ten times as long.
    return self._tokenizer.backend_tokenizer.decode(
      np.asarray(tokens).tolist(), skip_special_tokens=True
    )

  def __call__(self, messages, *, id):
    """The prompt of chat messages, up to where the assistant begins, as Encoded.

    Args:
      messages: [{"role", "content"}]; content is a string or parts of type "text", "image",
        "image_url" (as OpenAI's clients write it) or "video". An image or video part may have
        min_pixels and max_pixels; a video part `fps`, the rate of its frames as given.
      id: names the sample in errors.
    Raises ValueError where a part is unknown, a picture cannot be read, or text holds a control
    token. Nothing is ever cut: how long the prompt is, is `len(encoded.tokens)`.
    """
    name = f"example {id!r}"
    turns, parts = self._turns(messages, name)
    text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    short_T = np.asarray(self._ids(text, name), np.int32)
    return self._assemble(id, name, short_T, [self._see(part, name) for part in parts])

  def _ids(self, text, name):
    ids = self._tokenizer.encode(text, add_special_tokens=False)
    unknown = self._tokenizer.unk_token_id
    if unknown is not None and unknown in ids:
      strange = sorted(
        {c for c in text if self._tokenizer.encode(c, add_special_tokens=False) == [unknown]}
      )
      raise ValueError(f"{name}: the vocabulary in {str(self.folder)!r} lacks {strange}")
    return ids

  def _refuse_control(self, text, name):
    if found := self._control.search(text):
      raise ValueError(
        f"{name}: the text holds the control token {found[0]!r}, which would be "
        "read as structure; take it out"
      )

  def _turns(self, messages, name):
    """(messages with their media left out, the media parts in order)."""
    turns, media_parts = [], []
    for message in messages:
      role, content = message.get("role"), message.get("content")
      if role not in ROLES:
        raise ValueError(f"{name}: a message has the role {role!r}; known: {', '.join(ROLES)}")
      parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
      if not isinstance(parts, (list, tuple)):
        raise ValueError(
          f"{name}: content must be text or a list of parts, not {type(content).__name__}"
        )
      bare, run = [], ""
      for part in parts:
        kind = {"image_url": "image"}.get(part.get("type"), part.get("type"))
        if kind == "text":
          text = part.get("text")
          if not isinstance(text, str):
            raise ValueError(f"{name}: a text part holds {type(text).__name__}, not a string")
          run += text  # checked joined: a template sets parts side by side
          bare.append({"type": "text", "text": text})
        elif kind in SOURCES:
          self._refuse_control(run, name)
          run = ""
          bare.append({"type": kind})
          media_parts.append((kind, part))
        else:
          raise ValueError(
            f"{name}: unknown content part {part.get('type')!r}; known: text, "
            "image, image_url, video"
          )
      self._refuse_control(run, name)
      turns.append({"role": role, "content": content if isinstance(content, str) else bare})
    return turns, media_parts

  def _see(self, kind_and_part, name):
    kind, part = kind_and_part
    vision, settings = self.config.vision, self.settings
    source = next((part[key] for key in SOURCES[kind] if part.get(key) is not None), None)
    if source is None:
      raise ValueError(f"{name}: a part of type {part['type']!r} names no {kind}")
    seconds = None
    if kind == "image":
      source = source["url"] if isinstance(source, dict) else source
      pictures = [media.picture(source, name=name)]
    else:
      video = media.video(source, fps=part.get("fps"), name=name)
      numbers, fps = media.sample_frames(
        video.count,
        video.fps,
        fps=settings.fps,
        max_frames=settings.max_frames,
        multiple=vision.temporal_patch_size,
      )
      pictures = video.read(numbers)
      seconds = vision.temporal_patch_size / fps
    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1:
      raise ValueError(f"{name}: the frames of a video differ in size: {sorted(sizes)}")
    width, height = pictures[0].size
    side = vision.patch_size * vision.merge_size
    try:
      size = pixels.smart_resize(
        height,
        width,
        factor=side,
        min_pixels=part.get("min_pixels", settings.min_pixels),
        max_pixels=part.get("max_pixels", settings.max_pixels),
      )
    except ValueError as error:
      raise ValueError(f"{name}: {error}") from error
    patches_PC = pixels.patches(
      pixels.resize(pictures, size, settings.resample),
      patch=vision.patch_size,
      merge=vision.merge_size,
      temporal=vision.temporal_patch_size,
    )
    rows, columns = size[0] // side, size[1] // side
    frames = len(patches_PC) // (rows * columns * vision.merge_size**2)
    token = self.config.image_token_id if kind == "image" else self.config.video_token_id
    return _Seen(token, (frames, rows, columns), seconds, patches_PC)

  def _assemble(self, id, name, short_T, seen):
    config, vision = self.config, self.config.vision
    slots = np.flatnonzero((short_T == config.image_token_id) | (short_T == config.video_token_id))
    if short_T[slots].tolist() != [one.token for one in seen]:
      raise ValueError(
        f"{name}: the chat template of {str(self.folder)!r} left {len(slots)} picture tokens for "
        f"{len(seen)} pictures and videos, or not in their order"
      )
    counts = np.array([np.prod(one.grid) for one in seen], np.int64)
    repeats = np.ones(len(short_T), np.int64)
    repeats[slots] = counts
    tokens_T = short_T.repeat(repeats)
    starts = slots + np.cumsum(counts) - counts - np.arange(len(slots))

    unit, window = vision.merge_size**2, vision.window_size // vision.patch_size
    visual_T = np.full(len(tokens_T), -1, np.int32)
    spans, arrays, merged, window_id, frame_id = [], [], 0, 0, 0
    for start, one in zip(starts.tolist(), seen, strict=True):
      lay = windows.layout(one.grid, merge=vision.merge_size, window=window // vision.merge_size)
      count = len(lay.order_M)
      visual_T[start : start + count] = lay.inverse_M + merged
      spans.append(mrope_lib.Span(start, one.grid, one.seconds))
      ordered_PC = one.patches_PC.reshape(count, -1)[lay.order_M].reshape(one.patches_PC.shape)
      arrays.append((ordered_PC, lay.hw_P, lay.windows_P + window_id, lay.frames_P + frame_id))
      merged += count
      window_id += int(lay.windows_P[-1])
      frame_id += one.grid[0]
    if not arrays:
      arrays = [
        (
          np.zeros((0, vision.patch_numbers), np.uint8),
          np.zeros((0, 2), np.int32),
          np.zeros(0, np.int32),
          np.zeros(0, np.int32),
        )
      ]
    joined = [
      column[0] if len(column) == 1 else np.concatenate(column)
      for column in zip(*arrays, strict=True)
    ]
    assert merged * unit == len(joined[0]), (name, merged, unit, joined[0].shape)
    positions_T3, next_position = mrope_lib.positions(
      len(tokens_T), spans, tokens_per_second=vision.tokens_per_second, mode=self.settings.mrope
    )
    return Encoded(
      id=id,
      tokens=tokens_T,
      positions=positions_T3,
      visual=visual_T,
      next_position=next_position,
      patches_per_token=unit,
      patches=joined[0],
      hw=joined[1],
      windows=joined[2],
      frames=joined[3],
      pixel_values=self._pixel_values,
    )
