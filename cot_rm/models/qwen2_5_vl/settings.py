"""Processor files of a checkpoint folder: picture settings, tokenizer, template, stop tokens."""

import dataclasses
import pathlib
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING

from PIL import Image

from cot_rm import file_kinds, files, media
from cot_rm.models.qwen2_5_vl import mrope as mrope_lib
from cot_rm.models.qwen2_5_vl import processor_files
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
  *processor_files.TEMPLATES,
)


OWN = ("fps", "max_frames", "mrope")  # of preprocessor_config.json, as `write` writes it
SAMPLED = ("fps", "max_frames")  # of the settings of videos
VIDEO_TOKENS = 128_000  # of which nine tenths may be a video's, where a file caps them


@dataclasses.dataclass(frozen=True)
class Settings:
  """Picture settings of a checkpoint. Raises ValueError for a value out of range."""

  min_pixels: int = processor_files.DEFAULTS["min_pixels"]  # least area of a picture or frame
  max_pixels: int = processor_files.DEFAULTS["max_pixels"]  # largest area, after resizing
  image_mean: tuple[float, ...] = processor_files.DEFAULTS["image_mean"]
  image_std: tuple[float, ...] = processor_files.DEFAULTS["image_std"]
  rescale_factor: float = processor_files.DEFAULTS["rescale_factor"]
  resample: int = processor_files.DEFAULTS["resample"]  # Pillow's number of the filter
  fps: float = 2.0  # sampled frames per second of video
  max_frames: int = 768  # sampled frames of a video
  mrope: mrope_lib.Mode = "hf4"  # see mrope.positions
  video: media.VideoRules = media.VideoRules()  # which frames of videos, and bounds of their size

  def __post_init__(self) -> None:
    if not 0 < self.min_pixels <= self.max_pixels:
      raise ValueError(
        f"min_pixels {self.min_pixels:,} and max_pixels {self.max_pixels:,}: "
        "0 < min_pixels <= max_pixels is needed"
      )
    if not (self.fps > 0 and self.max_frames > 0):
      raise ValueError(f"fps {self.fps} and max_frames {self.max_frames} must be positive")
    if self.resample not in [*Image.Resampling]:
      raise ValueError(f"resample is {self.resample!r}; it must be the number of a Pillow filter")
    if not self.rescale_factor > 0 or not all(std > 0 for std in self.image_std):
      raise ValueError(
        f"rescale_factor {self.rescale_factor} and image_std {self.image_std} must be above 0"
      )
    if self.mrope not in mrope_lib.MODES:
      raise ValueError(f"unknown mrope mode {self.mrope!r}; known: {', '.join(mrope_lib.MODES)}")


def read(folder: pathlib.Path, vision: VisionConfig, given: Mapping[str, object]) -> Settings:
  """The Settings of a checkpoint folder.

  Args:
    folder: holds the files of any release of transformers, see processor_files.
    vision: sizes that the files must agree with.
    given: values of fields that override the files'; of `video` a mapping.

  Raises FileNotFoundError if no file has them, ValueError as processor_files and Settings.
  """
  pictures = processor_files.pictures(folder, vision)
  videos = processor_files.videos(folder, vision, pictures)
  found = {name: pictures[name] for name in processor_files.DEFAULTS}
  own = {key: pictures.values[key] for key in OWN if key in pictures.values}
  video = _video_rules(folder, pictures, videos, vision, given.get("video") or {})
  if video.mode == "transformers" and videos is not None:
    own = {key: videos.values[key] for key in SAMPLED if key in videos.values} | own
  try:
    return Settings(**found | own | {**given, "video": video})
  except ValueError as error:
    raise ValueError(f"{pictures.label}, or the knobs of config.processor: {error}") from error


def _video_rules(
  folder: pathlib.Path,
  pictures: processor_files.Section,
  videos: processor_files.Section | None,
  vision: VisionConfig,
  given: Mapping[str, object],
) -> media.VideoRules:
  """The rules of videos of a checkpoint folder, with the fields of `given` that are not None."""
  # Folders that older versions of this project wrote have "mrope", but no rules of videos.
  found = pictures.values.get("video") or ({"mode": "flat"} if "mrope" in pictures.values else {})
  asked = {k: value for part in (found, given) for k, value in part.items() if value is not None}
  if asked.get("mode") == "transformers" and videos is not None:
    asked = _of_video_file(videos, vision) | asked
  try:
    return media.VideoRules(**asked)
  except TypeError as error:
    raise ValueError(f"{str(folder)!r}: the rules of videos: {error}") from error


def _of_video_file(videos: processor_files.Section, vision: VisionConfig) -> dict[str, object]:
  """Fields of VideoRules that the checkpoint's settings of videos have in mode "transformers".

  Raises ValueError where they ask for a number of frames, whatever the length of the video.
  """
  if "num_frames" in videos.values:
    raise ValueError(
      f"{videos.label}: num_frames {videos.values['num_frames']} is not supported: give video "
      "parts nframes, or remove it and set fps and max_frames"
    )
  found = {key: videos[key] for key in processor_files.VIDEO_BOUNDS}
  if "min_frames" in videos.values:
    found["min_frames"] = videos.values["min_frames"]
  if videos.values.get("cap_pixels_per_frame"):
    tokens = videos.values.get("max_video_tokens", VIDEO_TOKENS)
    found["total_pixels"] = int(tokens * (vision.patch_size * vision.merge_size) ** 2 * 0.9)
  return found


def write(
  folder: pathlib.Path, settings: Settings, vision: VisionConfig, *, source: pathlib.Path
) -> None:
  """Writes a processor's files to `folder`.

  The settings of pictures are made from `settings` and `vision`; those of videos, the tokenizer's
  and the other FILES are copied from the folder `source`. An existing config.json, the model's, is
  kept.
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
  processor_files.write(folder, values, source, files.write_atomic)


def load_tokenizer(folder: pathlib.Path, config: Config) -> "PreTrainedTokenizerBase":
  """transformers' tokenizer with its chat template.

  Raises FileNotFoundError if either is missing, ValueError if it does not fit the Config.
  """
  if not any((folder / name).exists() for name in ("tokenizer.json", "vocab.json")):
    raise FileNotFoundError(
      f"no tokenizer.json or vocab.json in the checkpoint folder {str(folder)!r}"
    )
  import transformers  # here, because it takes seconds

  try:
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
  except ImportError:
    raise
  except Exception as error:  # of many kinds, that of tokenizers' Rust among them
    reason = _mistaken(folder) or f"{type(error).__name__}: {error}"
    raise ValueError(f"{str(folder)!r}: the tokenizer's files cannot be read: {reason}") from error
  if template := processor_files.chat_template(folder):
    tokenizer.chat_template = template
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


def _mistaken(folder: pathlib.Path) -> str | None:
  """Which of a tokenizer's files is something else, in words; None: none of them."""
  for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
    if (folder / name).is_file():
      with (folder / name).open("rb") as file:
        if found := file_kinds.mistaken(file.read(file_kinds.LOOKED_AT)):
          return f"{name} is {found}"
  return None


def generation(folder: pathlib.Path) -> dict[str, float]:
  """The sampling parameters of generation_config.json that are set; {} without the file.

  Raises ValueError if one is no number.
  """
  if not (folder / "generation_config.json").exists():
    return {}
  values = processor_files.load_json(folder, "generation_config.json")
  names = ("temperature", "top_p", "top_k", "repetition_penalty")
  found = {name: values[name] for name in names if values.get(name) is not None}
  for name, value in found.items():
    if not isinstance(value, int | float):
      raise ValueError(_generation_fault(folder, name, value, "a number"))
  return found


def stop_ids(
  folder: pathlib.Path, tokenizer: "PreTrainedTokenizerBase", end_of_turn: int
) -> tuple[int, ...]:
  """Tokens that end an answer: those of the chat format, tokenizer and generation_config.json.

  Raises ValueError if the file has something else than ids there.
  """
  ids = {end_of_turn, tokenizer.eos_token_id, tokenizer.get_vocab().get(END_OF_TEXT)}
  if (folder / "generation_config.json").exists():
    stops = processor_files.load_json(folder, "generation_config.json").get("eos_token_id")
    given = stops if isinstance(stops, list) else [stops]
    if not all(stop is None or isinstance(stop, int) for stop in given):
      raise ValueError(_generation_fault(folder, "eos_token_id", stops, "an id or a list of ids"))
    ids |= set(given)
  return tuple(sorted(ids - {None}))


def _generation_fault(folder: pathlib.Path, name: str, value: object, wanted: str) -> str:
  """The words of an error about generation_config.json."""
  file = str(folder / "generation_config.json")
  return f"{file!r}: {name} is {value!r}; it must be {wanted}"
