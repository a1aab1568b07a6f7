"""From chat messages to Encoded: template, tokens, patches, positions.

T tokens, P patches, M merged patches, C values per patch.
"""

import itertools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

from cot_rm import media
from cot_rm.batch import Encoded, Size
from cot_rm.models.qwen2_5_vl import config as config_lib
from cot_rm.models.qwen2_5_vl import mrope as mrope_lib
from cot_rm.models.qwen2_5_vl import (
  pixels,
  processor_files,
  text_encoder,
  token_kinds,
  visuals,
  windows,
)
from cot_rm.models.qwen2_5_vl import settings as settings_lib
from cot_rm.schema import BadExample, Chat

if TYPE_CHECKING:
  from transformers import PreTrainedTokenizerBase  # imported late, because it takes seconds

ROLES = ("system", "user", "assistant")


class Processor:
  """Tokenizer, chat template and picture settings of one checkpoint.

  Attributes:
    settings: picture settings.
    options: how media are opened.
    vocab_size: tokens of the tokenizer; the model's table may be longer.
    end_of_turn: token that ends a turn.
    stop_ids: tokens that end an answer.
    banned_ids: tokens that are never sampled: ids without a token, and control tokens.
    answer_prefix: the text that the chat template puts at the start of an answer; mostly "".
    generation: sampling parameters of generation_config.json.
    collapsed_videos: videos so far whose frames all have the same time, see mrope.collapses.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    config: config_lib.Config,
    settings: settings_lib.Settings,
    tokenizer: "PreTrainedTokenizerBase",
    options: media.Options = media.DEFAULT,
    control_tokens: text_encoder.ControlTokens = "refuse",
  ):
    """Processor of loaded parts; `load` reads them from a checkpoint folder."""
    self.folder, self.config, self.settings, self.options = folder, config, settings, options
    self._tokenizer = tokenizer
    self._text_encoder = text_encoder.TextEncoder(tokenizer, str(folder), control_tokens)
    self.collapsed_videos = 0
    self.vocab_size = len(tokenizer)
    self.end_of_turn = tokenizer.convert_tokens_to_ids(settings_lib.END_OF_TURN)
    self.stop_ids = settings_lib.stop_ids(folder, tokenizer, self.end_of_turn)
    self.banned_ids = token_kinds.banned_ids(tokenizer, config, self.stop_ids)
    self.answer_prefix = token_kinds.answer_prefix(tokenizer)
    self.generation = settings_lib.generation(folder)
    self._hidden_ids = token_kinds.hidden_ids(tokenizer)
    self._pixel_values = pixels.table(
      rescale=settings.rescale_factor, mean=settings.image_mean, std=settings.image_std
    )

  @classmethod
  def load(
    cls,
    folder: str | os.PathLike,
    *,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    fps: float | None = None,
    max_frames: int | None = None,
    mrope: mrope_lib.Mode | None = None,
    video: Mapping[str, object] | None = None,
    options: media.Options = media.DEFAULT,
    control_tokens: text_encoder.ControlTokens = "refuse",
  ) -> "Processor":
    """The processor of a checkpoint folder (Hugging Face's layout). Nothing is downloaded.

    Settings that are None are the folder's.

    Args:
      folder: holds config.json, the tokenizer's files, and the processor's, see processor_files.
      min_pixels: least area of a picture or a frame of a video after resizing.
      max_pixels: largest area.
      fps: sampled frames per second of video.
      max_frames: sampled frames of a video.
      mrope: see mrope.positions; "hf4" where the folder has none.
      video: fields of media.VideoRules: which frames of a video, and bounds of their size. Fields
        that are missing or None are the folder's; mode "qwen_vl_utils" where it has none.
      options: how media are opened.
      control_tokens: texts with control tokens are refused ("refuse"), or read them as plain text
        ("text").

    Raises FileNotFoundError if a file is missing, ValueError if files disagree.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
      raise FileNotFoundError(f"no such checkpoint folder: {str(folder)!r}")
    config = config_lib.from_hf(processor_files.load_json(folder, "config.json"))
    given = dict(
      min_pixels=min_pixels,
      max_pixels=max_pixels,
      fps=fps,
      max_frames=max_frames,
      mrope=mrope,
      video=video,
    )
    settings = settings_lib.read(
      folder, config.vision, {name: value for name, value in given.items() if value is not None}
    )
    tokenizer = settings_lib.load_tokenizer(folder, config)
    return cls(folder, config, settings, tokenizer, options, control_tokens)

  def save(self, folder: str | os.PathLike) -> None:
    """Writes the files that make an equal processor by `load`; keeps an existing config.json."""
    settings_lib.write(pathlib.Path(folder), self.settings, self.config.vision, source=self.folder)

  def encode(self, text: str, *, name: str = "text") -> list[int]:
    """Token ids of plain text, without special tokens.

    Raises BadExample if the text holds a control token that is refused, or a character that the
    vocabulary lacks; `name` names the sample in the error.
    """
    return self._text_encoder.ids(self._text_encoder.marked([text], name)[0], name)

  def encode_answer(self, text: str, *, name: str = "text") -> list[int]:
    """Token ids of an answer, without the prefix that the chat template has put into the prompt.

    Raises as `encode`.
    """
    for prefix in filter(None, (self.answer_prefix, self.answer_prefix.strip())):
      if text.startswith(prefix):
        text = text[len(prefix) :]
        break
    return self.encode(text, name=name)

  def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
    """The text of token ids, without control tokens."""
    tokens = np.asarray(tokens, np.int64)
    shown = tokens[~np.isin(tokens, self._hidden_ids)]
    # The backend: transformers' wrapper checks each number first, which takes ten times as long.
    return self._tokenizer.backend_tokenizer.decode(shown.tolist(), skip_special_tokens=False)

  def __call__(self, messages: Chat, *, id: str) -> Encoded:
    """The encoded prompt of chat messages, up to the start of the assistant's turn.

    A prompt is never truncated: its length is `len(encoded.tokens)`.

    Args:
      messages: [{"role", "content"}]; content is a string or parts: texts, pictures and videos in
        the forms of Qwen's, transformers' and OpenAI's clients, see media.parts. An image or
        video part may have the settings of schema.MEDIA_SETTINGS; a video part may have `fps`, see
        schema.Media.
      id: names the sample in errors.

    Raises ValueError for an unknown part, an unreadable picture, or a control token in a text.
    """
    short_T, items = self._opened(messages, f"example {id!r}")
    return self._assemble(id, short_T, items)

  def measure(self, messages: Chat, *, id: str) -> Size:
    """The lengths of the encoded prompt, equal to those of `__call__`; no pixel is decoded.

    The size of a picture is read from its header, the frames of a video from its container.

    Raises ValueError as `__call__` does, but for damage behind the headers.
    """
    short_T, items = self._opened(messages, f"example {id!r}")
    merged = sum(item.tokens for item in items)
    return Size(len(short_T) - len(items) + merged, merged * self.config.vision.merge_size**2)

  def _opened(self, messages: Chat, name: str) -> tuple[np.ndarray, list[visuals.Visual]]:
    """(i32[T] token ids with one pad token per picture or video, the pictures and videos)."""
    config = self.config
    turns, parts = self._turns(messages, name)
    text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    short_T = np.asarray(self._text_encoder.ids(text, name), np.int32)
    items = [
      visuals.visual(part, config.vision, self.settings, self.options, name) for part in parts
    ]
    pad = {"image": config.image_token_id, "video": config.video_token_id}
    found = short_T[np.isin(short_T, [*pad.values()])]
    if found.tolist() != [pad[item.kind] for item in items]:
      raise ValueError(
        f"{name}: the chat template of {str(self.folder)!r} left {len(found)} picture tokens for "
        f"{len(items)} pictures and videos, or not in their order"
      )
    return short_T, items

  def _turns(self, messages: Chat, name: str) -> tuple[list[dict[str, object]], list[media.Part]]:
    """(messages without the sources of their media, the media parts)."""
    turns, media_parts = [], []
    for role, content in media.turns(messages, name=name):
      if role not in ROLES:
        raise BadExample(f"{name}: a message has the role {role!r}; known: {', '.join(ROLES)}")
      if isinstance(content, str):
        turns.append({"role": role, "content": self._text_encoder.marked([content], name)[0]})
        continue
      bare: list[dict[str, object]] = []
      for kind, run in itertools.groupby(content, key=lambda part: part["type"]):
        if kind == "text":  # marked together: a template sets them side by side
          of_run = self._text_encoder.marked([part["text"] for part in run], name)
          bare += [{"type": "text", "text": text} for text in of_run]
        else:
          parts = [*run]
          bare += [{"type": kind} for _ in parts]
          media_parts += parts
      turns.append({"role": role, "content": bare})
    return turns, media_parts

  def _assemble(self, id: str, short_T: np.ndarray, items: Sequence[visuals.Visual]) -> Encoded:
    """The Encoded of a prompt.

    Args:
      id: of the sample.
      short_T: token ids with one pad token per picture or video.
      items: the pictures and videos that replace the pad tokens, in order.
    """
    config, vision = self.config, self.config.vision
    pads = np.flatnonzero(np.isin(short_T, [config.image_token_id, config.video_token_id]))
    counts = np.array([item.tokens for item in items], np.int64)
    repeats = np.ones(len(short_T), np.int64)
    repeats[pads] = counts
    tokens_T = short_T.repeat(repeats)
    starts = pads + np.cumsum(counts) - counts - np.arange(len(pads))

    spans = [
      mrope_lib.Span(start, item.grid, item.seconds)
      for start, item in zip(starts.tolist(), items, strict=True)
    ]
    self._warn_of_collapse(id, spans)
    window = vision.window_size // vision.patch_size // vision.merge_size
    layouts = [windows.layout(item.grid, merge=vision.merge_size, window=window) for item in items]
    visual_T, merged = np.full(len(tokens_T), -1, np.int32), 0
    for span, layout in zip(spans, layouts, strict=True):
      visual_T[span.start : span.start + span.length] = layout.inverse_M + merged
      merged += span.length
    patches_PC, hw_P2, windows_P, frames_P = self._joined(items, layouts)
    positions_T3, next_position = mrope_lib.positions(
      len(tokens_T), spans, tokens_per_second=vision.tokens_per_second, mode=self.settings.mrope
    )
    return Encoded(
      id=id,
      tokens=tokens_T,
      positions=positions_T3,
      visual=visual_T,
      next_position=next_position,
      patches_per_token=vision.merge_size**2,
      patches=patches_PC,
      hw=hw_P2,
      windows=windows_P,
      frames=frames_P,
      pixel_values=self._pixel_values,
    )

  def _warn_of_collapse(self, id: str, spans: Sequence[mrope_lib.Span]) -> None:
    """Counts videos whose frames all have the same time, and warns of the first."""
    mode = self.settings.mrope
    found = [span for span in spans if mrope_lib.collapses(span, mode=mode)]
    if found and not self.collapsed_videos:
      logging.warning(
        "example %r: a video has %.3g seconds between two frames (pairs): in mrope mode %r all its "
        "frames have the same time. Show %.3g frames a second at most (processor.fps, "
        "processor.video.min_frames, or the video's own settings) or take mrope='hf4_49' or 'hf5'; "
        "further videos of this kind are only counted",
        *(id, found[0].seconds, mode, self.config.vision.temporal_patch_size),
      )
    self.collapsed_videos += len(found)

  def _joined(
    self, items: Sequence[visuals.Visual], layouts: Sequence[windows.Layout]
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Patches of all pictures in window order, and arrays that describe them.

    Returns:
      (patches u8[P, C], row and column i32[P, 2], window ids i32[P], frame ids i32[P]).
    """
    if not items:
      none_P = np.zeros(0, np.int32)
      return (
        np.zeros((0, self.config.vision.patch_dim), np.uint8),
        np.zeros((0, 2), np.int32),
        none_P,
        none_P,
      )
    arrays, last_window, last_frame = [], 0, 0
    for item, layout in zip(items, layouts, strict=True):
      patches_PC = visuals.patches(item, self.config.vision, self.settings)
      ordered_PC = patches_PC.reshape(len(layout.order_M), -1)[layout.order_M]
      windows_P, frames_P = layout.windows_P + last_window, layout.frames_P + last_frame
      arrays.append((ordered_PC.reshape(patches_PC.shape), layout.hw_P, windows_P, frames_P))
      last_window += int(layout.windows_P[-1])
      last_frame += item.grid[0]
    columns = zip(*arrays, strict=True)
    return tuple(x[0] if len(x) == 1 else np.concatenate(x) for x in columns)
