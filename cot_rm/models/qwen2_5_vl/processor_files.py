"""Files of a processor as the releases of transformers write them, in one form.

  4.x   preprocessor_config.json, and since 4.52 video_preprocessor_config.json; chat_template.json,
        since 4.52 chat_template.jinja
  5.x   processor_config.json, which holds the first two as image_processor and video_processor;
        chat_template.jinja

Releases differ on which file holds where two of them say different things, so that is refused.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cot_rm.models.qwen2_5_vl.config import VisionConfig

PICTURES, VIDEOS, BOTH = (
  "preprocessor_config.json",
  "video_preprocessor_config.json",
  "processor_config.json",
)
TEMPLATES = ("chat_template.json", "chat_template.jinja")
# What transformers takes where a file has no value; bounds are areas of a picture.
DEFAULTS: Mapping[str, Any] = dict(
  min_pixels=56 * 56,
  max_pixels=28 * 28 * 1280,
  image_mean=(0.48145466, 0.4578275, 0.40821073),
  image_std=(0.26862954, 0.26130258, 0.27577711),
  rescale_factor=1 / 255,
  resample=3,
)
VIDEO_BOUNDS = dict(min_pixels=128 * 28 * 28, max_pixels=768 * 28 * 28)
SIZES = ("patch_size", "merge_size", "temporal_patch_size")
SWITCHES = ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb")
TYPES = ("Qwen2VLImageProcessor", "Qwen2_5_VLImageProcessor", "Qwen2VLVideoProcessor")


@dataclasses.dataclass(frozen=True)
class Section:
  """The settings of pictures or of videos in a file."""

  label: str  # names the file in errors
  values: Mapping[str, object]  # without those that are null, `size` resolved into the bounds
  defaults: Mapping[str, object]

  def __getitem__(self, name: str) -> object:
    """The value of one of DEFAULTS."""
    return self.values.get(name, self.defaults[name])

  def differences(self, other: "Section", names: Sequence[str]) -> list[str]:
    """Those of the names whose values differ, with both values."""
    return [f"{name} {self[name]} and {other[name]}" for name in names if self[name] != other[name]]


def load_json(folder: pathlib.Path, name: str) -> dict[str, object]:
  """A parsed file of a checkpoint folder.

  Raises FileNotFoundError, or ValueError for invalid JSON, with the path.
  """
  path = folder / name
  if not path.exists():
    raise FileNotFoundError(f"no {name} in the checkpoint folder {str(folder)!r}")
  try:
    found = json.loads(path.read_text())
  except ValueError as error:  # JSON, or the bytes of a text
    raise ValueError(f"{str(path)!r} is no JSON: {error}") from error
  if not isinstance(found, dict):
    raise ValueError(f"{str(path)!r} holds a {type(found).__name__}, not an object")
  return found


def pictures(folder: pathlib.Path, vision: VisionConfig) -> Section:
  """The settings of pictures.

  Raises FileNotFoundError if no file has them, ValueError if they contradict each other or
  `vision`, or are not supported.
  """
  found = _section(folder, PICTURES, "image_processor", DEFAULTS, vision)
  if found is None:
    raise FileNotFoundError(
      f"neither {PICTURES} nor {BOTH} with an image_processor in the checkpoint folder "
      f"{str(folder)!r}"
    )
  return found


def videos(folder: pathlib.Path, vision: VisionConfig, of_pictures: Section) -> Section | None:
  """The settings of videos; None: no file has them, and those of pictures hold.

  Raises ValueError as `pictures`, and where they change the pixels of a frame in another way.
  """
  defaults = {**DEFAULTS, **VIDEO_BOUNDS}
  found = _section(folder, VIDEOS, "video_processor", defaults, vision)
  if found is None:
    return None
  names = ("image_mean", "image_std", "rescale_factor", "resample")
  if differ := found.differences(of_pictures, names):
    raise ValueError(
      f"{found.label} and {of_pictures.label} differ: {'; '.join(differ)}. Frames of videos are "
      "treated as pictures are: make the files equal"
    )
  return found


def chat_template(folder: pathlib.Path) -> str | Mapping[str, str] | None:
  """The template of the files beside the tokenizer's; None: there is none.

  Raises ValueError if two files hold different ones.
  """
  found: dict[str, object] = {}
  for name, read in (
    (TEMPLATES[0], lambda name: load_json(folder, name).get("chat_template")),
    (TEMPLATES[1], lambda name: (folder / name).read_text()),
    (BOTH, lambda name: load_json(folder, name).get("chat_template")),
  ):
    if (folder / name).exists() and (template := read(name)):
      found[name] = _by_name(template)
  texts = [_without_line_end(template) for template in found.values()]
  if any(text != texts[0] for text in texts):
    raise ValueError(
      f"{str(folder)!r}: {' and '.join(found)} hold different chat templates; remove those that do "
      "not belong to the model"
    )
  return next(iter(found.values()), None)


def write(
  folder: pathlib.Path,
  pictures: Mapping[str, object],
  source: pathlib.Path,
  put: Callable[[pathlib.Path, str], None],
) -> None:
  """Writes the settings in the files of 4.x, which all releases read.

  Args:
    folder: where.
    pictures: the content of preprocessor_config.json.
    source: the folder from which the settings of videos, and what else is there, are taken.
    put: `(path, text)` writes a file.
  """
  both = load_json(source, BOTH) if (source / BOTH).exists() else {}
  videos = both.pop("video_processor", None)
  if videos is None and (source / VIDEOS).exists():
    videos = load_json(source, VIDEOS)
  both.pop("image_processor", None)
  for name, values in ((PICTURES, pictures), (VIDEOS, videos), (BOTH, both)):
    if values:
      put(folder / name, json.dumps(values, indent=2) + "\n")
    else:
      (folder / name).unlink(missing_ok=True)


def _section(
  folder: pathlib.Path,
  name: str,
  key: str,
  defaults: Mapping[str, object],
  vision: VisionConfig,
) -> Section | None:
  """The settings in the file `name`, or under `key` in processor_config.json."""
  found = []
  if (folder / name).exists():
    found.append(_checked(str(folder / name), load_json(folder, name), defaults, vision))
  if (folder / BOTH).exists() and key in (both := load_json(folder, BOTH)):
    found.append(_checked(f"{folder / BOTH}, {key}", both[key], defaults, vision))
  if len(found) == 2 and (differ := found[0].differences(found[1], [*DEFAULTS])):
    raise ValueError(
      f"{found[0].label} and {found[1].label} differ: {'; '.join(differ)}. transformers 4 reads "
      "the first, 5 the second: make them equal, or remove that of another model"
    )
  return found[-1] if found else None


def _checked(
  label: str, values: object, defaults: Mapping[str, object], vision: VisionConfig
) -> Section:
  """The Section of parsed values. Raises ValueError for what contradicts `vision` or is unknown."""
  if not isinstance(values, Mapping):
    raise ValueError(f"{label}: a {type(values).__name__}, not an object")
  values = {key: value for key, value in values.items() if value is not None}
  for key in SWITCHES:
    if not values.get(key, True):
      raise ValueError(f"{label}: {key} is false; only true is supported")
  for key in SIZES:
    if values.get(key, getattr(vision, key)) != getattr(vision, key):
      raise ValueError(
        f"{label}: {key} is {values[key]}, but config.json says {getattr(vision, key)}"
      )
  for key in ("image_processor_type", "video_processor_type"):
    kind = str(values.get(key, TYPES[0]))
    if kind.removesuffix("Fast").removesuffix("Pil") not in TYPES:
      raise ValueError(f"{label}: {key} is {kind!r}, of another model; known: {', '.join(TYPES)}")
  size = values.get("size", {})
  for key, edge in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")):
    # Before 4.49 `size` had the names of the bounds.
    bound = values.get(key, size.get(edge, size.get(key)))
    values = values if bound is None else {**values, key: bound}
  for key in ("image_mean", "image_std"):
    if key in values:
      values[key] = _per_channel(label, key, values[key], vision)
  return Section(label, values, defaults)


def _per_channel(label: str, key: str, value: object, vision: VisionConfig) -> tuple[float, ...]:
  """A number for each channel; one number is that of all channels."""
  numbers = [value] * vision.in_channels if isinstance(value, int | float) else value
  if not isinstance(numbers, list | tuple) or len(numbers) != vision.in_channels:
    raise ValueError(f"{label}: {key} is {value!r}; {vision.in_channels} numbers are needed")
  return tuple(numbers)


def _by_name(template: object) -> object:
  """A template, or templates as {name: template}: a file may hold a list of named ones."""
  if not isinstance(template, list):
    return template
  return {one["name"]: one["template"] for one in template}


def _without_line_end(template: object) -> object:
  """A template without a last line end, which an editor may add and which renders as nothing."""
  return template.removesuffix("\n") if isinstance(template, str) else template
