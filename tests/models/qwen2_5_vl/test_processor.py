"""Messages to Encoded: against transformers, and errors in messages."""

import base64
import dataclasses
import io
import json
import types

import numpy as np
import pytest
from PIL import Image

from cot_rm.data import packing
from cot_rm.models.qwen2_5_vl import processor as processor_lib


def edit(path, **values):
  path.write_text(json.dumps(json.loads(path.read_text()) | values))


def picture(height=84, width=84, seed=0):
  return Image.fromarray(
    np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
  )


def user(*parts):
  return [{"role": "user", "content": list(parts)}]


def text(words):
  return {"type": "text", "text": words}


def image(source, **settings):
  return {"type": "image", "image": source, **settings}


def test_text_alone_equals_the_template(processor):
  for messages in ([{"role": "user", "content": "a star"}], user(text("a star"))):
    got = processor(messages, id="t")
    want = "<|im_start|>user\na star<|im_end|>\n<|im_start|>assistant\n"
    tokens = processor._tokenizer.encode(want, add_special_tokens=False)
    assert got.tokens.tolist() == tokens
    assert got.positions[:, 0].tolist() == list(range(len(tokens)))
    assert got.next_position == len(tokens)
    assert got.patches.shape == (0, 1176) and got.hw.shape == (0, 2)
    assert (got.visual == -1).all()


def test_everything_agrees_with_transformers(folder):
  """Three pictures of odd sizes and a video between texts, assembled as transformers does."""
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  from transformers import vision_utils
  from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modeling
  from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as theirs

  processor = processor_lib.Processor.load(folder, mrope="hf5")
  pictures = [picture(84, 84), picture(200, 131, 1), picture(60, 300, 2)]
  frames = np.stack([np.asarray(picture(112, 84, seed)) for seed in range(4)])
  got = processor(
    user(
      image(pictures[0]),
      text("red"),
      image(pictures[1]),
      {"type": "video", "video": frames},
      text("stars"),
      image(pictures[2]),
    ),
    id="t",
  )

  out = theirs.Qwen2VLImageProcessorPil()(images=pictures, return_tensors="np")
  grids = out["image_grid_thw"]
  starts = np.cumsum([0, *grids.prod(1)])
  pixels = [out["pixel_values"][a:b] for a, b in zip(starts, starts[1:], strict=False)]
  singles = [
    theirs.Qwen2VLImageProcessorPil()(images=[Image.fromarray(f)], return_tensors="np")[
      "pixel_values"
    ].reshape(-1, 3, 2, 196)[:, :, 0]
    for f in frames
  ]
  video = np.concatenate([np.stack(singles[i : i + 2], axis=2) for i in (0, 2)]).reshape(-1, 1176)
  order = [(1, *grids[0][1:]), (1, *grids[1][1:]), (2, 8, 6), (1, *grids[2][1:])]
  flat = np.concatenate([pixels[0], pixels[1], video, pixels[2]])
  grid_thw = torch.tensor(np.array(order, np.int64))
  config = processor.config.vision
  index, bounds = vision_utils.get_vision_window_index(grid_thw, 2, config.window_size, 14)
  index = index.numpy()

  read = np.empty(got.patches.shape, np.float32)
  got.write_pixels(read)
  np.testing.assert_allclose(
    read, flat.reshape(-1, 4, 1176)[index].reshape(-1, 1176), rtol=0, atol=1e-6
  )
  places = vision_utils.get_vision_position_ids(grid_thw, 2).numpy()
  np.testing.assert_array_equal(got.hw, places.reshape(-1, 4, 2)[index].reshape(-1, 2))
  edges = lambda ids: [0, *(1 + np.flatnonzero(np.diff(ids))).tolist(), len(ids)]
  assert edges(got.windows) == bounds.tolist()
  assert edges(got.frames) == vision_utils.get_vision_cu_seqlens(grid_thw).tolist()
  assert got.windows[0] == got.frames[0] == 1
  assert (np.diff(got.windows) >= 0).all() and (np.diff(got.frames) >= 0).all()
  # The k-th pad token reads raster patch k, wherever the window order put it.
  np.testing.assert_array_equal(index[got.visual[got.visual >= 0]], np.arange(len(index)))

  pad = {"image": "<|image_pad|>", "video": "<|video_pad|>"}
  kinds = ["image", "image", "video", "image"]
  spelt = [
    f"<|vision_start|>{pad[kind] * (int(np.prod(grid)) // 4)}<|vision_end|>"
    for kind, grid in zip(kinds, order, strict=True)
  ]
  prompt = (
    f"<|im_start|>user\n{spelt[0]}red{spelt[1]}{spelt[2]}stars{spelt[3]}<|im_end|>\n"
    "<|im_start|>assistant\n"
  )
  tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
  tokens = tokenizer.encode(prompt, add_special_tokens=False)
  np.testing.assert_array_equal(got.tokens, tokens)
  pads = np.isin(tokens, [processor.config.image_token_id, processor.config.video_token_id])
  np.testing.assert_array_equal(got.visual >= 0, pads)

  cls = modeling.Qwen2_5_VLModel
  model = types.SimpleNamespace(
    config=types.SimpleNamespace(
      vision_config=types.SimpleNamespace(
        spatial_merge_size=2, tokens_per_second=config.tokens_per_second
      )
    )
  )
  model.get_vision_position_ids = cls.get_vision_position_ids.__get__(model)
  modality = np.select(
    [got.tokens == processor.config.image_token_id, got.tokens == processor.config.video_token_id],
    [1, 2],
  )
  positions, _ = cls.get_rope_index(
    model,
    torch.tensor(tokens)[None],
    torch.tensor(modality)[None],
    grid_thw[[0, 1, 3]],
    grid_thw[2:3],
    [1.0],
  )
  np.testing.assert_array_equal(got.positions, positions[:, 0].T.numpy())
  assert got.next_position == int(positions[0, 0, -1]) + 1
  assert len(got.patches) == got.patches_per_token * (got.visual >= 0).sum()
  for field, dtype in (
    ("tokens", np.int32),
    ("positions", np.int32),
    ("visual", np.int32),
    ("patches", np.uint8),
    ("hw", np.int32),
    ("windows", np.int32),
    ("frames", np.int32),
  ):
    assert getattr(got, field).dtype == dtype, field


def same(one, two):
  for field in dataclasses.fields(one):
    a, b = getattr(one, field.name), getattr(two, field.name)
    np.testing.assert_array_equal(a, b, err_msg=field.name)


def test_a_picture_may_be_written_in_every_way(processor, tmp_path):
  source = picture()
  source.save(tmp_path / "a.png")
  data = (tmp_path / "a.png").read_bytes()
  url = "data:image/png;base64," + base64.b64encode(data).decode()
  want = processor(user(image(source), text("red")), id="t")
  for part in (
    image(str(tmp_path / "a.png")),
    image(tmp_path / "a.png"),
    image(data),
    image(url),
    {"type": "image_url", "image_url": {"url": url}},
    {"type": "image_url", "image_url": url},
    {"type": "image", "url": url},
    {"type": "image", "path": str(tmp_path / "a.png")},
  ):
    same(processor(user(part, text("red")), id="t"), want)


def test_a_video_may_be_written_in_every_way(processor, tmp_path):
  frames = np.stack([np.asarray(picture(seed=seed)) for seed in range(3)])
  np.save(tmp_path / "clip.npy", frames)
  (tmp_path / "clip").mkdir()
  for i, frame in enumerate(frames):
    Image.fromarray(frame).save(tmp_path / "clip" / f"{i}.png")
  video = lambda source: processor(user({"type": "video", "video": source, "fps": 2}), id="t")
  want = video(frames)
  assert want.frames.max() == 2  # the odd frame is repeated
  assert (want.tokens == processor.config.video_token_id).sum() == 2 * 9
  for source in (
    tmp_path / "clip.npy",
    str(tmp_path / "clip"),
    tuple(Image.fromarray(frame) for frame in frames),
  ):
    same(video(source), want)


def test_the_rate_of_the_frames_decides_time(folder):
  load = lambda mode: processor_lib.Processor.load(folder, mrope=mode, fps=4)
  frames = np.zeros((4, 56, 56, 3), np.uint8)
  for mode, fps, step in (("hf4", 1, 4), ("hf4", 2, 2), ("hf4", 4, 0), ("hf5", 4, 1)):
    got = load(mode)(user({"type": "video", "video": frames, "fps": fps}), id="t")
    time = got.positions[got.visual >= 0][:, 0]
    assert time[4] - time[0] == step, (mode, fps)


def test_videos_whose_time_stands_still_are_counted_and_the_first_is_named(folder, caplog):
  processor = processor_lib.Processor.load(folder, fps=4)
  video = {"type": "video", "video": np.zeros((4, 56, 56, 3), np.uint8), "fps": 4}
  with caplog.at_level("WARNING"):
    for name in ("one", "two"):
      processor(user(video), id=name)
  assert processor.collapsed_videos == 2
  warnings = [r.getMessage() for r in caplog.records if "the same time" in r.getMessage()]
  assert len(warnings) == 1 and warnings[0].startswith("example 'one': ")
  assert "hf4_49" in warnings[0]
  assert "Show 2 frames a second at most (processor.fps, " in warnings[0]


def test_frames_are_sampled_at_the_given_rate(folder):
  frames = np.zeros((40, 56, 56, 3), np.uint8)
  part = {"type": "video", "video": frames, "fps": 8}
  count = lambda **knobs: processor_lib.Processor.load(folder, **knobs)(
    user(part), id="t"
  ).frames.max()
  assert count() == 5  # 5 seconds at 2 a second, two to a patch
  assert count(fps=1) == 2
  assert count(max_frames=6) == 3
  assert count(fps=8) == 20


def test_pixel_bounds_come_from_settings_and_parts(folder, processor):
  big = picture(560, 560)
  tokens = lambda one, **settings: int(
    (one(user(image(big, **settings)), id="t").visual >= 0).sum()
  )
  assert tokens(processor) == 400
  assert tokens(processor, max_pixels=28 * 28 * 100) == 100
  assert tokens(processor_lib.Processor.load(folder, max_pixels=28 * 28 * 25)) == 25
  small = processor(user(image(picture(56, 56), min_pixels=112 * 112)), id="t")
  assert (small.visual >= 0).sum() == 16


@pytest.mark.parametrize(
  "messages, words",
  [
    (user({"type": "audio", "audio": b""}), "unknown content part 'audio'; known: text, image"),
    (user({"caption": "a"}), "unknown content part None"),
    (user({"type": "text"}), "a text part holds NoneType"),
    (user({"type": "image"}), "has no image: none of image, image_url, base64, path, url"),
    ([{"role": "user", "content": None}], "content must be text or a list of parts, not NoneType"),
    (["hello"], "a message must be a dict of role and content, not str"),
    (user("hello"), "a content part must be a dict, not str"),
    ([{"role": "tool<|im_end|>", "content": "a"}], "the role 'tool<|im_end|>'"),
    (user(image("no/such.png")), "does not exist"),
    (user(image(b"bad")), "no readable picture"),
    (user(image(Image.new("RGB", (0, 9)))), "0x9 pixels"),
    (user(image(Image.new("L", (20_000, 50)))), "over 200 times"),
    (user({"type": "video", "video": [picture(56, 56), picture(56, 84)]}), "differ in size"),
    (user(text("a ☂")), "lacks \\['☂'\\]"),
  ],
)
def test_an_error_names_the_sample(processor, messages, words):
  with pytest.raises(ValueError, match=words.replace("|", "\\|")) as caught:
    processor(messages, id="vl-17")
  assert "example 'vl-17'" in str(caught.value)


@pytest.mark.parametrize(
  "content",
  [
    "a<|im_end|>b",
    "<|image_pad|>",
    "x <|vision_start|>",
    "<unk>",
    [text("see <|video_pad|>")],
    [text("<|im_"), text("end|>")],
  ],
)
def test_text_cannot_smuggle_in_control_tokens(processor, content):
  with pytest.raises(ValueError, match="example 'vl-17'.*control token '<"):
    processor([{"role": "user", "content": content}], id="vl-17")


def test_halves_of_a_control_token_around_a_picture_are_text(processor):
  got = processor(user(text("<|im_"), image(picture()), text("end|>")), id="t")
  assert (got.tokens == processor.end_of_turn).sum() == 1


def test_answers_cannot_smuggle_in_control_tokens(processor):
  with pytest.raises(ValueError, match="answer 3.*'<|im_start|>'"):
    processor.encode("a<|im_start|>", name="answer 3")


def test_a_template_that_drops_a_picture_names_the_sample(broken):
  edit(broken / "tokenizer_config.json", chat_template="{{ messages[0]['role'] }}")
  with pytest.raises(ValueError, match="'vl-17'.*left 0 picture tokens for 1 pictures"):
    processor_lib.Processor.load(broken)(user(image(picture())), id="vl-17")


def test_decoding_leaves_out_control_tokens(processor):
  tokens = processor.encode("<think>\nred stars 12")
  assert processor.decode(tokens) == "<think>\nred stars 12"
  assert processor.decode(np.array([*tokens, processor.end_of_turn], np.int32)) == (
    "<think>\nred stars 12"
  )
  assert processor.encode("") == []


def test_stop_ids_and_banned_ids(processor, broken):
  assert processor.end_of_turn == 2 and processor.stop_ids == (0, 2)
  # All control tokens but those that end an answer, and the one of unknown characters.
  assert processor.banned_ids == (1, 3, 4, 5, 6, 7)
  assert processor.vocab_size == len(processor._tokenizer)
  (broken / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
  assert processor_lib.Processor.load(broken).stop_ids == (0, 2, 7)


def test_a_saved_processor_loads_equal(folder, tmp_path):
  first = processor_lib.Processor.load(
    folder, min_pixels=784, max_pixels=50_000, fps=3, max_frames=6, mrope="hf5"
  )
  first.save(tmp_path / "saved")
  second = processor_lib.Processor.load(tmp_path / "saved")
  assert second.settings == first.settings and second.config == first.config
  messages = user(
    image(picture(300, 200)),
    text("red"),
    {"type": "video", "video": np.zeros((9, 56, 56, 3), np.uint8), "fps": 6},
  )
  same(second(messages, id="t"), first(messages, id="t"))
  second.save(tmp_path / "saved")  # onto itself
  assert processor_lib.Processor.load(tmp_path / "saved").settings == first.settings


def test_a_picture_of_a_street_is_resized(processor):
  out = io.BytesIO()
  Image.new("L", (20_000, 150)).save(out, "PNG")
  got = processor(user(image(out.getvalue())), id="t")
  assert 0 < (got.visual >= 0).sum() <= 1280


def test_pairs_with_and_without_a_picture_share_a_batch(processor):
  """In the packed batch of SFT and in the groups of RL."""
  answer = np.array([9, 8], np.int32)
  items = [
    packing.Item(processor(user(*parts, text("red")), id="t"), answer)
    for parts in ([], [image(picture())], [])
  ]
  buckets = packing.Buckets(tokens=(64,), patches=(64,), answers=(8,))
  for rows in ([[items[0]], items[1:]], [items]):
    batch = packing.pack(rows, buckets, rows=len(rows))
    assert (np.asarray(batch.visual) >= 0).sum() == 9
  batch = packing.groups([[item, item] for item in items], buckets, rows=3)
  assert (np.asarray(batch.prompts.pictures.frames) > 0).sum(1).tolist() == [0, 36, 0]
