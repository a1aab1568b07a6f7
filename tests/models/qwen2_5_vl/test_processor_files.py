"""Processor files in the layouts of transformers 4.49, 4.57 and 5, with unusual values."""

import json

import numpy as np
import pytest
from PIL import Image

from cot_rm.models.qwen2_5_vl import processor as processor_lib

TEMPLATE = "{% for m in messages %}star{% endfor %}\n"
OTHER = "{% for m in messages %}red{% endfor %}"
PIXELS = {
  "do_convert_rgb": True,
  "do_normalize": True,
  "do_rescale": True,
  "do_resize": True,
  "image_mean": [0.5, 0.4, 0.3],
  "image_std": [0.25, 0.5, 0.2],
  "merge_size": 2,
  "patch_size": 14,
  "resample": 2,
  "rescale_factor": 0.0078125,
  "temporal_patch_size": 2,
}
BOUNDS = {"shortest_edge": 6272, "longest_edge": 31360}
VIDEO_BOUNDS = {"shortest_edge": 1568, "longest_edge": 15680}
OLD_BOUNDS = {"min_pixels": 6272, "max_pixels": 31360}
NULLS = dict.fromkeys(["crop_size", "device", "do_center_crop", "do_pad", "input_data_format"])
FAST = PIXELS | NULLS | {"data_format": "channels_first", "default_to_square": True}
PICTURES_5 = PIXELS | {"image_processor_type": "Qwen2VLImageProcessor", "size": BOUNDS}
VIDEOS_5 = FAST | {
  "video_processor_type": "Qwen2VLVideoProcessor",
  "size": VIDEO_BOUNDS,
  "do_sample_frames": False,
  "fps": None,
  "num_frames": None,
  "min_frames": 6,
  "max_frames": 64,
  "return_metadata": False,
}
LAYOUTS = {
  "4.49": {
    "preprocessor_config.json": PIXELS
    | OLD_BOUNDS
    | {"image_processor_type": "Qwen2VLImageProcessor", "size": BOUNDS},
    "chat_template.json": {"chat_template": TEMPLATE},
  },
  "4.57": {
    "preprocessor_config.json": FAST
    | OLD_BOUNDS
    | {"image_processor_type": "Qwen2VLImageProcessorFast", "size": BOUNDS},
    "video_preprocessor_config.json": VIDEOS_5 | {"min_pixels": 1568, "max_pixels": 15680},
    "chat_template.jinja": TEMPLATE,
  },
  "5": {
    "processor_config.json": {
      "processor_class": "Qwen2_5_VLProcessor",
      "image_processor": PICTURES_5,
      "video_processor": VIDEOS_5,
    },
    "chat_template.jinja": TEMPLATE,
  },
}


@pytest.fixture
def lay(broken):
  """`lay(files)`: the checkpoint folder with these processor files; its tokenizer has OTHER."""

  def lay(files):
    (broken / "preprocessor_config.json").unlink(missing_ok=True)
    config = broken / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": OTHER}))
    for name, content in files.items():
      (broken / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return broken

  return lay


def load(folder, **knobs):
  return processor_lib.Processor.load(folder, **knobs)


def picture():
  rng = np.random.default_rng(0)
  return Image.fromarray(rng.integers(0, 256, (150, 90, 3), np.uint8))


@pytest.mark.parametrize("release", LAYOUTS)
def test_the_files_of_each_release_say_the_same(lay, release):
  got = load(lay(LAYOUTS[release]))
  settings = got.settings
  assert (settings.min_pixels, settings.max_pixels) == (6272, 31360)
  assert settings.image_mean == (0.5, 0.4, 0.3) and settings.image_std == (0.25, 0.5, 0.2)
  assert (settings.rescale_factor, settings.resample) == (1 / 128, 2)
  chat = [{"role": "user", "content": "a"}]
  assert got(chat, id="a").tokens.tolist() == got.encode("star")


@pytest.mark.parametrize("release", LAYOUTS)
def test_the_pixels_are_those_of_transformers_from_the_same_folder(lay, release):
  module = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
  files = LAYOUTS[release] | {"chat_template.jinja": "<|vision_start|><|image_pad|><|vision_end|>"}
  folder = lay({name: x for name, x in files.items() if name != "chat_template.json"})
  theirs = module.Qwen2VLImageProcessorPil.from_pretrained(str(folder))(
    images=[picture()], return_tensors="np"
  )
  chat = [{"role": "user", "content": [{"type": "image", "image": picture()}]}]
  ours = load(folder)(chat, id="a")
  got_PC = np.empty(ours.patches.shape, np.float32)
  ours.write_pixels(got_PC)
  assert theirs["pixel_values"].shape == got_PC.shape
  np.testing.assert_allclose(
    np.sort(got_PC, axis=0), np.sort(theirs["pixel_values"], axis=0), atol=1e-6
  )


@pytest.mark.parametrize(
  "release, bounds", [("4.49", (6272, 31360)), ("4.57", (1568, 15680)), ("5", (1568, 15680))]
)
def test_the_mode_of_transformers_takes_the_checkpoint_s_settings_of_videos(lay, release, bounds):
  settings = load(lay(LAYOUTS[release]), video={"mode": "transformers"}).settings
  least, most = settings.video.min_pixels, settings.video.max_pixels
  assert (least or settings.min_pixels, most or settings.max_pixels) == bounds
  frames = (4, 768) if release == "4.49" else (6, 64)
  assert (settings.video.min_frames, settings.max_frames) == frames


def test_knobs_come_before_the_checkpoint_s_settings_of_videos(lay):
  knobs = {"mode": "transformers", "max_pixels": 9408, "min_frames": 2, "min_pixels": None}
  settings = load(lay(LAYOUTS["5"]), video=knobs, max_frames=8).settings
  assert (settings.video.min_pixels, settings.video.max_pixels) == (1568, 9408)
  assert (settings.video.min_frames, settings.max_frames) == (2, 8)


def test_a_cap_on_the_tokens_of_a_video_bounds_all_its_frames(lay):
  videos = VIDEOS_5 | {"cap_pixels_per_frame": True, "max_video_tokens": 1000}
  folder = lay(
    {"processor_config.json": {"image_processor": PICTURES_5, "video_processor": videos}}
  )
  assert load(folder, video={"mode": "transformers"}).settings.video.total_pixels == 900 * 784


@pytest.mark.parametrize("release", LAYOUTS)
@pytest.mark.parametrize("mode", ["qwen_vl_utils", "transformers"])
def test_a_saved_processor_is_equal_whatever_the_release(lay, tmp_path, release, mode):
  first = load(lay(LAYOUTS[release]), video={"mode": mode})
  first.save(tmp_path / "saved")
  again = load(tmp_path / "saved")
  assert again.settings == first.settings
  # The bounds of videos stay even where the mode does not read them.
  bounds = {
    (rules.min_pixels, rules.max_pixels)
    for folder in (tmp_path / "saved", first.folder)
    for rules in [load(folder, video={"mode": "transformers"}).settings.video]
  }
  assert len(bounds) == 1
  first.save(first.folder)
  assert load(first.folder).settings == first.settings


@pytest.mark.parametrize(
  "section, change, words",
  [
    ("image_processor", {"patch_size": 16}, "patch_size is 16, but config.json says 14"),
    ("image_processor", {"merge_size": 1}, "merge_size is 1"),
    ("image_processor", {"resample": 9}, "resample is 9"),
    ("image_processor", {"rescale_factor": 0}, "rescale_factor 0"),
    ("image_processor", {"do_normalize": False}, "do_normalize is false"),
    ("image_processor", {"image_mean": [0.5]}, "image_mean is .0.5.; 3 numbers are needed"),
    ("image_processor", {"image_processor_type": "CLIPImageProcessor"}, "of another model"),
    ("image_processor", {"size": {"shortest_edge": 9, "longest_edge": 8}}, "min_pixels 9"),
    ("video_processor", {"patch_size": 16}, "video_processor: patch_size is 16"),
    ("video_processor", {"image_mean": [0.5, 0.5, 0.5]}, "differ: image_mean"),
    ("video_processor", {"rescale_factor": 0.5}, "differ: rescale_factor 0.5 and 0.0078125"),
  ],
)
def test_what_contradicts_the_model_or_the_pictures_is_refused(lay, section, change, words):
  sections = {"image_processor": PICTURES_5, "video_processor": VIDEOS_5}
  both = {"image_processor": PICTURES_5} | {section: sections[section] | change}
  with pytest.raises(ValueError, match=words):
    load(lay({"processor_config.json": both}))


def test_a_fixed_number_of_frames_is_refused_where_it_would_count(lay):
  videos = VIDEOS_5 | {"num_frames": 16}
  folder = lay(
    {"processor_config.json": {"image_processor": PICTURES_5, "video_processor": videos}}
  )
  load(folder)
  with pytest.raises(ValueError, match="num_frames 16 is not supported"):
    load(folder, video={"mode": "transformers"})


def test_files_of_two_releases_must_agree(lay):
  files = LAYOUTS["4.49"] | LAYOUTS["5"] | {"chat_template.jinja": TEMPLATE[:-1]}
  folder = lay(files)
  assert load(folder).settings.min_pixels == 6272
  (folder / "preprocessor_config.json").write_text(json.dumps(PIXELS | {"min_pixels": 784}))
  with pytest.raises(ValueError, match="differ: min_pixels 784 and 6272; max_pixels 1003520 and"):
    load(folder)


def test_two_chat_templates_that_differ_are_refused(lay):
  folder = lay(LAYOUTS["4.49"] | {"chat_template.jinja": OTHER})
  with pytest.raises(ValueError, match="chat_template.json and chat_template.jinja hold different"):
    load(folder)


@pytest.mark.parametrize(
  "name, content",
  [
    ("chat_template.json", {"chat_template": [{"name": "default", "template": TEMPLATE}]}),
    ("processor_config.json", {"image_processor": PICTURES_5, "chat_template": TEMPLATE}),
  ],
)
def test_a_template_is_found_in_a_list_of_named_ones_and_in_the_processor_s_config(
  lay, name, content
):
  got = load(lay({"preprocessor_config.json": PICTURES_5, name: content}))
  assert got([{"role": "user", "content": "a"}], id="a").tokens.tolist() == got.encode("star")


@pytest.mark.parametrize("size", [{"min_pixels": 1568, "max_pixels": 3136}, BOUNDS])
def test_bounds_are_read_under_the_names_of_all_releases_the_oldest_first(lay, size):
  values = PIXELS | {"size": size}
  settings = load(lay({"preprocessor_config.json": values})).settings
  assert (settings.min_pixels, settings.max_pixels) == tuple(size.values())
  settings = load(lay({"preprocessor_config.json": values | {"min_pixels": 784}})).settings
  assert (settings.min_pixels, settings.max_pixels) == (784, size[[*size][1]])


def test_a_processor_config_without_pictures_is_not_read_as_one(lay):
  folder = lay({"processor_config.json": {"processor_class": "Qwen2_5_VLProcessor"}})
  with pytest.raises(FileNotFoundError, match="processor_config.json with an image_processor"):
    load(folder)
