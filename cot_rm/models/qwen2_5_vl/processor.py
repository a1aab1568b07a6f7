"""From chat messages to schema.Encoded: template, tokens, patches, positions.

T tokens, P patches, M merged patches, C numbers in a patch.
"""
import dataclasses
import json
import pathlib
import re
import shutil

import numpy as np

from cot_rm import schema
from cot_rm.models import media
from cot_rm.models.qwen2_5_vl import config as config_lib
from cot_rm.models.qwen2_5_vl import mrope as mrope_lib
from cot_rm.models.qwen2_5_vl import pixels, windows

ROLES = ("system", "user", "assistant")
END_OF_TURN = "<|im_end|>"
# What a checkpoint folder may hold for its processor, in either generation of transformers.
FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "chat_template.json", "chat_template.jinja")
SOURCES = {"image": ("image", "image_url", "path", "url"), "video": ("video", "path", "url")}


@dataclasses.dataclass(frozen=True)
class Settings:
  """preprocessor_config.json. Those that a caller gives win over the file, and are saved."""
  min_pixels: int = 56 * 56  # a picture's or frame's area after resizing
  max_pixels: int = 28 * 28 * 1280
  fps: float = 2.0  # frames of a video looked at per second
  max_frames: int = 768  # and of a whole video
  mrope: str = "hf4"  # see mrope.positions
  image_mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
  image_std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
  rescale_factor: float = 1 / 255
  resample: int = 3  # Pillow's number: bicubic

  def __post_init__(self):
    if not 0 < self.min_pixels <= self.max_pixels:
      raise ValueError(f"min_pixels {self.min_pixels:,} and max_pixels {self.max_pixels:,}: "
                       "0 < min_pixels <= max_pixels is needed")
    if not (self.fps > 0 and self.max_frames > 0):
      raise ValueError(f"fps {self.fps} and max_frames {self.max_frames} must be positive")
    if self.mrope not in mrope_lib.MODES:
      raise ValueError(f"unknown mrope mode {self.mrope!r}; known: {', '.join(mrope_lib.MODES)}")


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
    settings: the Settings in force.
    vocab_size: tokens the tokenizer knows; the model's table may be longer.
    end_of_turn: the token that ends a turn.
    stop_ids: tokens after which nothing is sampled.
    banned_ids: tokens that are never sampled: those of pictures.
  """

  def __init__(self, folder, config, settings, tokenizer):
    self.folder, self.config, self.settings = folder, config, settings
    self._tokenizer = tokenizer
    self.vocab_size = len(tokenizer)
    self.end_of_turn = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    self.stop_ids = _stop_ids(folder, tokenizer, self.end_of_turn)
    self.banned_ids = (config.image_token_id, config.video_token_id,
                       config.vision_start_token_id, config.vision_end_token_id)
    control = [str(token) for token in tokenizer.added_tokens_decoder.values()
               if token.special or str(token).startswith("<|")]
    self._control = re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))))
    self._numbers = pixels.table(rescale=settings.rescale_factor, mean=settings.image_mean,
                                 std=settings.image_std)

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
    config = config_lib.from_hf(_json(folder, "config.json"))
    given = dict(min_pixels=min_pixels, max_pixels=max_pixels, fps=fps, max_frames=max_frames,
                 mrope=mrope)
    settings = _settings(folder, config.vision, {k: v for k, v in given.items() if v is not None})
    return cls(folder, config, settings, _tokenizer(folder, config))

  def save(self, folder):
    """Writes what `load` needs to give an equal processor. A config.json already there stays."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
      source, target = self.folder / name, folder / name
      if source.exists() and not (target.exists() and name == "config.json"):
        if source.resolve() != target.resolve():
          shutil.copyfile(source, target)
    vision = self.config.vision
    values = dataclasses.asdict(self.settings) | {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "patch_size": vision.patch_size,
        "merge_size": vision.merge_size,
        "temporal_patch_size": vision.temporal_patch_size,
        "size": {"shortest_edge": self.settings.min_pixels,
                 "longest_edge": self.settings.max_pixels},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(values, indent=2) + "\n")

  def encode(self, text, *, name="text"):
    """Token ids of plain text, nothing added.

    Raises ValueError where it holds a control token or a character that the vocabulary lacks;
    `name` is how the error calls the sample.
    """
    self._refuse_control(text, name)
    return self._ids(text, name)

  def decode(self, tokens):
    """The text of token ids, control tokens left out."""
    return self._tokenizer.decode(
        np.asarray(tokens).tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)

  def __call__(self, messages, *, id):
    """The prompt of chat messages, up to where the assistant begins, as schema.Encoded.

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
      strange = sorted({c for c in text if self._tokenizer.encode(c, add_special_tokens=False)
                        == [unknown]})
      raise ValueError(f"{name}: the vocabulary in {str(self.folder)!r} lacks {strange}")
    return ids

  def _refuse_control(self, text, name):
    if found := self._control.search(text):
      raise ValueError(f"{name}: the text holds the control token {found[0]!r}, which would be "
                       "read as structure; take it out")

  def _turns(self, messages, name):
    """(messages with their media left out, the media parts in order)."""
    turns, media_parts = [], []
    for message in messages:
      role, content = message.get("role"), message.get("content")
      if role not in ROLES:
        raise ValueError(f"{name}: a message has the role {role!r}; known: {', '.join(ROLES)}")
      parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
      if not isinstance(parts, (list, tuple)):
        raise ValueError(f"{name}: content must be text or a list of parts, not "
                         f"{type(content).__name__}")
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
          raise ValueError(f"{name}: unknown content part {part.get('type')!r}; known: text, "
                           "image, image_url, video")
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
      numbers, fps = media.sample(
          video.count, video.fps, fps=settings.fps, max_frames=settings.max_frames,
          multiple=vision.temporal_patch_size)
      pictures = video.read(numbers)
      seconds = vision.temporal_patch_size / fps
    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1:
      raise ValueError(f"{name}: the frames of a video differ in size: {sorted(sizes)}")
    width, height = pictures[0].size
    side = vision.patch_size * vision.merge_size
    try:
      size = pixels.smart_resize(
          height, width, factor=side,
          min_pixels=part.get("min_pixels", settings.min_pixels),
          max_pixels=part.get("max_pixels", settings.max_pixels))
    except ValueError as error:
      raise ValueError(f"{name}: {error}") from error
    patches_PC = pixels.patches(
        pixels.resize(pictures, size, settings.resample), self._numbers, patch=vision.patch_size,
        merge=vision.merge_size, temporal=vision.temporal_patch_size)
    rows, columns = size[0] // side, size[1] // side
    frames = len(patches_PC) // (rows * columns * vision.merge_size ** 2)
    token = self.config.image_token_id if kind == "image" else self.config.video_token_id
    return _Seen(token, (frames, rows, columns), seconds, patches_PC)

  def _assemble(self, id, name, short_T, seen):
    config, vision = self.config, self.config.vision
    slots = np.flatnonzero((short_T == config.image_token_id) | (short_T == config.video_token_id))
    if short_T[slots].tolist() != [one.token for one in seen]:
      raise ValueError(
          f"{name}: the chat template of {str(self.folder)!r} left {len(slots)} picture tokens for "
          f"{len(seen)} pictures and videos, or not in their order")
    counts = np.array([np.prod(one.grid) for one in seen], np.int64)
    repeats = np.ones(len(short_T), np.int64)
    repeats[slots] = counts
    tokens_T = short_T.repeat(repeats)
    starts = slots + np.cumsum(counts) - counts - np.arange(len(slots))

    unit, window = vision.merge_size ** 2, vision.window_size // vision.patch_size
    visual_T = np.full(len(tokens_T), -1, np.int32)
    spans, arrays, merged, window_id, frame_id = [], [], 0, 0, 0
    for start, one in zip(starts.tolist(), seen, strict=True):
      lay = windows.layout(one.grid, merge=vision.merge_size, window=window // vision.merge_size)
      count = len(lay.order_M)
      visual_T[start:start + count] = lay.inverse_M + merged
      spans.append(mrope_lib.Span(start, one.grid, one.seconds))
      ordered_PC = one.patches_PC.reshape(count, -1)[lay.order_M].reshape(one.patches_PC.shape)
      arrays.append((ordered_PC, lay.hw_P, lay.windows_P + window_id, lay.frames_P + frame_id))
      merged += count
      window_id += int(lay.windows_P[-1])
      frame_id += one.grid[0]
    if not arrays:
      arrays = [(np.zeros((0, vision.patch_numbers), np.float32), np.zeros((0, 2), np.int32),
                 np.zeros(0, np.int32), np.zeros(0, np.int32))]
    joined = [column[0] if len(column) == 1 else np.concatenate(column)
              for column in zip(*arrays, strict=True)]
    assert merged * unit == len(joined[0]), (name, merged, unit, joined[0].shape)
    positions_T3, next_position = mrope_lib.positions(
        len(tokens_T), spans, tokens_per_second=vision.tokens_per_second,
        mode=self.settings.mrope)
    return schema.Encoded(
        id=id, tokens=tokens_T, positions=positions_T3, visual=visual_T,
        next_position=next_position, patches=joined[0], hw=joined[1], windows=joined[2],
        frames=joined[3])


def _json(folder, name):
  path = folder / name
  if not path.exists():
    raise FileNotFoundError(f"no {name} in the checkpoint folder {str(folder)!r}")
  try:
    return json.loads(path.read_text())
  except json.JSONDecodeError as error:
    raise ValueError(f"{str(path)!r} is no JSON: {error}") from error


def _settings(folder, vision, given):
  if (folder / "preprocessor_config.json").exists():
    name = "preprocessor_config.json"
    values = _json(folder, name)
  else:
    name = "processor_config.json"
    if not (folder / name).exists():
      raise FileNotFoundError(f"neither preprocessor_config.json nor {name} in the checkpoint "
                              f"folder {str(folder)!r}")
    values = _json(folder, name).get("image_processor", {})
  for key in ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb"):
    if not values.get(key, True):
      raise ValueError(f"{str(folder / name)!r}: {key} is off; only on is supported")
  for key in ("patch_size", "merge_size", "temporal_patch_size"):
    if values.get(key, getattr(vision, key)) != getattr(vision, key):
      raise ValueError(f"{str(folder / name)!r}: {key} is {values[key]}, but config.json says "
                       f"{getattr(vision, key)}")
  size = values.get("size") or {}
  found = {
      "min_pixels": values.get("min_pixels") or size.get("shortest_edge"),
      "max_pixels": values.get("max_pixels") or size.get("longest_edge"),
  } | {key: values.get(key) for key in (
      "fps", "max_frames", "mrope", "image_mean", "image_std", "rescale_factor", "resample")}
  found = {key: tuple(value) if isinstance(value, list) else value
           for key, value in found.items() if value is not None}
  return Settings(**found | given)


def _tokenizer(folder, config):
  if not any((folder / name).exists() for name in ("tokenizer.json", "vocab.json")):
    raise FileNotFoundError(f"no tokenizer.json or vocab.json in the checkpoint folder "
                            f"{str(folder)!r}")
  import transformers  # here, because it takes seconds

  tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
  if (folder / "chat_template.json").exists():
    tokenizer.chat_template = _json(folder, "chat_template.json")["chat_template"]
  if not tokenizer.chat_template:
    raise FileNotFoundError(f"no chat template in the checkpoint folder {str(folder)!r}")
  for token, wanted in (
      ("<|image_pad|>", config.image_token_id), ("<|video_pad|>", config.video_token_id),
      ("<|vision_start|>", config.vision_start_token_id),
      ("<|vision_end|>", config.vision_end_token_id)):
    if tokenizer.convert_tokens_to_ids(token) != wanted:
      raise ValueError(
          f"{str(folder)!r}: config.json gives {token!r} the id {wanted}, the tokenizer "
          f"{tokenizer.convert_tokens_to_ids(token)}: they are of different checkpoints")
  if len(tokenizer) > config.vocab_size:
    raise ValueError(f"{str(folder)!r}: the tokenizer knows {len(tokenizer):,} tokens, the model "
                     f"{config.vocab_size:,}")
  if tokenizer.convert_tokens_to_ids(END_OF_TURN) in (None, tokenizer.unk_token_id):
    raise ValueError(f"{str(folder)!r}: the tokenizer has no {END_OF_TURN!r}")
  return tokenizer


def _stop_ids(folder, tokenizer, end_of_turn):
  ids = {end_of_turn, tokenizer.eos_token_id}
  if (folder / "generation_config.json").exists():
    stops = _json(folder, "generation_config.json").get("eos_token_id")
    ids |= set(stops if isinstance(stops, list) else [stops])
  return tuple(sorted(ids - {None}))
