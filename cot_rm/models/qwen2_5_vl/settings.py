"""Processor files of a checkpoint folder: picture settings, tokenizer, template, stop tokens."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cot_rm import files, media
from cot_rm.models.qwen2_5_vl import mrope as mrope_lib
from cot_rm.models.qwen2_5_vl.config import Config, VisionConfig

if TYPE_CHECKING:
  from transformers import PreTrainedTokenizerBase  # imported late, because it takes seconds

END_OF_TURN = "<|im_end|>"
END_OF_TEXT = "<|endoftext|>"  # ends an answer of base models, sometimes of chat models
# Processor files of a checkpoint folder, in either generation of transformers.
FILES = (
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.json",
  "chat_template.jinja",
)


@dataclasses.dataclass(frozen=True)
class Settings:
  """Picture settings, of preprocessor_config.json. Raises ValueError for a value out of range."""

  min_pixels: int = 56 * 56  # least area of a picture or frame after resizing
  max_pixels: int = 28 * 28 * 1280  # largest area
  fps: float = 2.0  # sampled frames per second of video
  max_frames: int = 768  # sampled frames of a video
  mrope: mrope_lib.Mode = "hf4"  # see mrope.positions
  video: media.VideoRules = media.VideoRules()  # which frames of videos, and bounds of their size
  image_mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
  image_std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
  rescale_factor: float = 1 / 255
  resample: int = 3  # Pillow's number of the filter: bicubic

  def __post_init__(self) -> None:
    if not 0 < self.min_pixels <= self.max_pixels:
      raise ValueError(
        f"min_pixels {self.min_pixels:,} and max_pixels {self.max_pixels:,}: "
        "0 < min_pixels <= max_pixels is needed"
      )
    if not (self.fps > 0 and self.max_frames > 0):
      raise ValueError(f"fps {self.fps} and max_frames {self.max_frames} must be positive")
    if self.mrope not in mrope_lib.MODES:
      raise ValueError(f"unknown mrope mode {self.mrope!r}; known: {', '.join(mrope_lib.MODES)}")


def load_json(folder: pathlib.Path, name: str) -> dict[str, object]:
  """A parsed file of a checkpoint folder.

  Raises FileNotFoundError, or ValueError for invalid JSON, with the path.
  """
  path = folder / name
  if not path.exists():
    raise FileNotFoundError(f"no {name} in the checkpoint folder {str(folder)!r}")
  try:
    return json.loads(path.read_text())
  except json.JSONDecodeError as error:
    raise ValueError(f"{str(path)!r} is no JSON: {error}") from error


def read(folder: pathlib.Path, vision: VisionConfig, given: Mapping[str, object]) -> Settings:
  """The Settings of a checkpoint folder.

  Args:
    folder: holds preprocessor_config.json or processor_config.json.
    vision: sizes that the file must agree with.
    given: values of fields that override the file's; of `video` a mapping.

  Raises FileNotFoundError if neither file exists, ValueError if the file contradicts `vision`.
  """
  if (folder / "preprocessor_config.json").exists():
    name = "preprocessor_config.json"
    values = load_json(folder, name)
  else:
    name = "processor_config.json"
    if not (folder / name).exists():
      raise FileNotFoundError(
        f"neither preprocessor_config.json nor {name} in the checkpoint folder {str(folder)!r}"
      )
    values = load_json(folder, name).get("image_processor", {})
  for key in ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb"):
    if not values.get(key, True):
      raise ValueError(f"{str(folder / name)!r}: {key} is false; only true is supported")
  for key in ("patch_size", "merge_size", "temporal_patch_size"):
    if values.get(key, getattr(vision, key)) != getattr(vision, key):
      raise ValueError(
        f"{str(folder / name)!r}: {key} is {values[key]}, but config.json says "
        f"{getattr(vision, key)}"
      )
  size = values.get("size") or {}
  found = {
    "min_pixels": values.get("min_pixels") or size.get("shortest_edge"),
    "max_pixels": values.get("max_pixels") or size.get("longest_edge"),
  } | {
    key: values.get(key)
    for key in (
      "fps",
      "max_frames",
      "mrope",
      "image_mean",
      "image_std",
      "rescale_factor",
      "resample",
    )
  }
  found = {
    key: tuple(value) if isinstance(value, list) else value
    for key, value in found.items()
    if value is not None
  }
  video = _video_rules(folder, values, given.get("video") or {})
  return Settings(**found | {**given, "video": video})


def _video_rules(
  folder: pathlib.Path, values: Mapping[str, object], given: Mapping[str, object]
) -> media.VideoRules:
  """The rules of videos of a checkpoint folder, with the fields of `given` that are not None."""
  # Folders that older versions of this project wrote have "mrope", but no rules of videos.
  found = values.get("video") or ({"mode": "flat"} if "mrope" in values else {})
  found = {**found, **{name: value for name, value in given.items() if value is not None}}
  try:
    rules = media.VideoRules(**found)
  except TypeError as error:
    raise ValueError(f"{str(folder)!r}: the rules of videos: {error}") from error
  if rules.mode == "transformers" and (folder / "video_preprocessor_config.json").exists():
    theirs = load_json(folder, "video_preprocessor_config.json")
    size = theirs.get("size") or {}
    bounds = {
      "min_pixels": rules.min_pixels or theirs.get("min_pixels") or size.get("shortest_edge"),
      "max_pixels": rules.max_pixels or theirs.get("max_pixels") or size.get("longest_edge"),
    }
    rules = dataclasses.replace(rules, **bounds)
  return rules


def write(
  folder: pathlib.Path, settings: Settings, vision: VisionConfig, *, source: pathlib.Path
) -> None:
  """Writes a processor's files to `folder`.

  preprocessor_config.json is made from `settings` and `vision`; the tokenizer's and the other FILES
  are copied from the folder `source`. An existing config.json is kept: it is the model's.
  """
  folder.mkdir(parents=True, exist_ok=True)
  for name in FILES:
    old, new = source / name, folder / name
    keep = new.exists() and (name == "config.json" or old.resolve() == new.resolve())
    if old.exists() and not keep:
      shutil.copyfile(old, new)
  values = dataclasses.asdict(settings) | {
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
    "patch_size": vision.patch_size,
    "merge_size": vision.merge_size,
    "temporal_patch_size": vision.temporal_patch_size,
    "size": {"shortest_edge": settings.min_pixels, "longest_edge": settings.max_pixels},
  }
  files.write_atomic(folder / "preprocessor_config.json", json.dumps(values, indent=2) + "\n")


def load_tokenizer(folder: pathlib.Path, config: Config) -> "PreTrainedTokenizerBase":
  """transformers' tokenizer with its chat template.

  Raises FileNotFoundError if either is missing, ValueError if it does not fit the Config.
  """
  if not any((folder / name).exists() for name in ("tokenizer.json", "vocab.json")):
    raise FileNotFoundError(
      f"no tokenizer.json or vocab.json in the checkpoint folder {str(folder)!r}"
    )
  import transformers  # here, because it takes seconds

  tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
  if (folder / "chat_template.json").exists():
    tokenizer.chat_template = load_json(folder, "chat_template.json")["chat_template"]
  if not tokenizer.chat_template:
    raise FileNotFoundError(f"no chat template in the checkpoint folder {str(folder)!r}")
  for token, wanted in (
    ("<|image_pad|>", config.image_token_id),
    ("<|video_pad|>", config.video_token_id),
    ("<|vision_start|>", config.vision_start_token_id),
    ("<|vision_end|>", config.vision_end_token_id),
  ):
    if tokenizer.convert_tokens_to_ids(token) != wanted:
      raise ValueError(
        f"{str(folder)!r}: config.json gives {token!r} the id {wanted}, the tokenizer "
        f"{tokenizer.convert_tokens_to_ids(token)}: they are of different checkpoints"
      )
  if (last := max(tokenizer.get_vocab().values())) >= config.vocab_size:
    raise ValueError(
      f"{str(folder)!r}: the tokenizer's last token has the id {last:,}, the model "
      f"{config.vocab_size:,} rows of embeddings: tokens were added and the table was not resized"
    )
  if tokenizer.convert_tokens_to_ids(END_OF_TURN) in (None, tokenizer.unk_token_id):
    raise ValueError(f"{str(folder)!r}: the tokenizer has no {END_OF_TURN!r}")
  return tokenizer


def generation(folder: pathlib.Path) -> dict[str, float]:
  """The sampling parameters of generation_config.json that are set; {} without the file."""
  if not (folder / "generation_config.json").exists():
    return {}
  values = load_json(folder, "generation_config.json")
  names = ("temperature", "top_p", "top_k", "repetition_penalty")
  return {name: values[name] for name in names if values.get(name) is not None}


def stop_ids(
  folder: pathlib.Path, tokenizer: "PreTrainedTokenizerBase", end_of_turn: int
) -> tuple[int, ...]:
  """Tokens that end an answer: those of the chat format, tokenizer and generation_config.json."""
  ids = {end_of_turn, tokenizer.eos_token_id, tokenizer.get_vocab().get(END_OF_TEXT)}
  if (folder / "generation_config.json").exists():
    stops = load_json(folder, "generation_config.json").get("eos_token_id")
    ids |= set(stops if isinstance(stops, list) else [stops])
  return tuple(sorted(ids - {None}))
