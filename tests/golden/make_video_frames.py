"""Writes which frames of a video are chosen, and their size, as other people's code computes it.

Run with torch, torchvision and transformers==5.24.0 once per version of qwen-vl-utils:

  pip install qwen-vl-utils==0.0.8 && python tests/golden/make_video_frames.py qwen_vl_utils_0.0.8
  pip install qwen-vl-utils==0.0.11 && python tests/golden/make_video_frames.py qwen_vl_utils_0.0.11
  pip install qwen-vl-utils==0.0.14 && python tests/golden/make_video_frames.py qwen_vl_utils
  python tests/golden/make_video_frames.py transformers
"""

import json
import os
import pathlib
import sys
import types

os.environ["FORCE_QWENVL_VIDEO_READER"] = "decord"

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import functional

# (frames, rate, height, width, fields of the part): of a video file
FILES = [
  (48, 24.0, 96, 128, {}),  # a small video is enlarged
  (90, 30.0, 240, 320, {}),
  (89, 29.97, 240, 320, {}),
  (300, 30.0, 480, 640, {}),
  (301, 25.0, 360, 640, {}),
  (1799, 29.97, 180, 320, {}),
  (9000, 25.0, 96, 96, {}),
  (40000, 25.0, 48, 80, {}),  # over 768 frames by the rate
  (2, 30.0, 100, 100, {}),
  (3, 30.0, 100, 100, {}),
  (4, 2.0, 100, 100, {}),
  (5, 10.0, 100, 100, {}),
  (7, 1.0, 100, 60, {}),  # fewer frames a second than asked for
  (1, 25.0, 100, 100, {}),  # too short
  (10, 8.0, 64, 640, {}),
  (11, 8.0, 33, 6000, {}),
  (120, 12.0, 720, 1280, {"fps": 1.0}),
  (120, 12.0, 720, 1280, {"fps": 0.5}),
  (120, 12.0, 240, 426, {"fps": 5}),
  (120, 12.0, 240, 426, {"nframes": 7}),
  (120, 12.0, 240, 426, {"nframes": 9}),
  (120, 12.0, 240, 426, {"nframes": 1}),  # rounded to 0
  (20, 12.0, 240, 426, {"nframes": 30}),
  (120, 12.0, 240, 426, {"min_frames": 31}),
  (120, 12.0, 240, 426, {"max_frames": 7}),
  (20, 12.0, 240, 426, {"min_frames": 15, "max_frames": 12}),
  (5, 12.0, 240, 426, {"max_frames": 40}),
  (120, 12.0, 240, 426, {"min_pixels": 28 * 28 * 4}),
  (120, 12.0, 240, 426, {"min_pixels": 28 * 28 * 4, "max_pixels": 28 * 28 * 20}),
  (120, 12.0, 720, 1280, {"max_pixels": 28 * 28 * 2000}),
  (120, 12.0, 720, 1280, {"max_pixels": 360 * 420}),
  (1200, 12.0, 240, 426, {"total_pixels": 20480 * 28 * 28}),
  (1200, 12.0, 240, 426, {"total_pixels": 4096 * 28 * 28, "min_pixels": 16 * 28 * 28}),
  (120, 12.0, 240, 426, {"resized_height": 280, "resized_width": 420}),
  (120, 12.0, 240, 426, {"resized_height": 100, "resized_width": 33}),
]
RANGES = [  # which 0.0.8 refuses
  (120, 12.0, 240, 426, {"video_start": 2.0}),
  (120, 12.0, 240, 426, {"video_end": 3.3}),
  (120, 12.0, 240, 426, {"video_start": 1.05, "video_end": 7.51, "fps": 3}),
  (120, 12.0, 240, 426, {"video_start": 4.0, "video_end": 4.0}),
  (120, 12.0, 240, 426, {"video_start": 11.0}),
  (120, 12.0, 240, 426, {"video_end": 99.0, "nframes": 4}),
]
# (frames, height, width, fields): frames that are given
LISTS = [
  (8, 96, 128, {}),
  (5, 240, 320, {}),
  (1, 100, 100, {}),
  (6, 30, 300, {}),
  (4, 720, 1280, {}),
  (4, 240, 426, {"max_pixels": 28 * 28 * 20, "min_pixels": 28 * 28 * 4}),
  (4, 240, 426, {"resized_height": 100, "resized_width": 200}),
  (300, 60, 80, {}),
]


def moving(count, height, width):
  """Frames of a gradient that moves; the test has the same."""
  y, x = np.mgrid[:height, :width]
  frames = [np.stack([x * 3 + 9 * i, y * 5, x * y // 7 + i], -1) % 256 for i in range(count)]
  return np.stack(frames).astype(np.uint8)


def of_qwen():
  chosen = []

  class Reader:
    """Stands for decord: an empty video of a given length, rate and size."""

    def __init__(self, path):
      self.count, self.rate, self.height, self.width = json.loads(path)

    def __len__(self):
      return self.count

    def get_avg_fps(self):
      return self.rate

    def get_batch(self, indices):
      chosen.append(indices)
      shape = len(indices), self.height, self.width, 3
      return types.SimpleNamespace(asnumpy=lambda: np.zeros(shape, np.uint8))

  sys.modules["decord"] = types.SimpleNamespace(VideoReader=Reader)
  from qwen_vl_utils import vision_process as theirs

  theirs.VIDEO_READER_BACKENDS["torchvision"] = theirs.VIDEO_READER_BACKENDS["decord"]
  ranges = RANGES if hasattr(theirs, "calculate_video_frame_range") else []
  out = {"files": [], "lists": [], "pixels": pixels(theirs)}
  theirs.transforms.functional.resize = lambda video, size, **_: torch.empty(
    (len(video), 3, *size), device="meta"
  )
  for count, rate, height, width, fields in FILES + ranges:
    case = {"video": [count, rate, height, width], "fields": fields}
    try:
      shape = theirs.fetch_video(
        {"type": "video", "video": json.dumps([count, rate, height, width]), **fields}
      ).shape
      case |= {"indices": chosen[-1], "size": list(shape[2:])}
    except (ValueError, AssertionError):
      case |= {"indices": None, "size": None}
    out["files"].append(case)
  for count, height, width, fields in LISTS:
    video = [Image.new("RGB", (width, height))] * count
    got = theirs.fetch_video({"type": "video", "video": video, **fields})
    size = got[0].size[::-1] if isinstance(got, list) else got.shape[2:]
    out["lists"].append(
      {"video": [count, height, width], "fields": fields, "size": list(size), "frames": len(got)}
    )
  return out


def pixels(theirs):
  """Every seventh pixel of the frames of a small list, as resized."""
  video = [Image.fromarray(frame) for frame in moving(3, 70, 100)]
  fields = {"min_pixels": 28 * 28 * 4, "max_pixels": 28 * 28 * 9}
  got = theirs.fetch_video({"type": "video", "video": video, **fields})
  if isinstance(got, list):
    got = torch.stack([torch.tensor(np.array(one)).permute(2, 0, 1) for one in got])
  return {"fields": fields, "values": got[:, :, ::7, ::7].round().int().tolist()}


def of_transformers():
  from transformers import Qwen2VLVideoProcessor
  from transformers.image_utils import SizeDict
  from transformers.video_utils import VideoMetadata

  # The bounds of pictures that the released checkpoints give to the processor of videos, too.
  processor = Qwen2VLVideoProcessor(min_pixels=4 * 28 * 28, max_pixels=16384 * 28 * 28)
  out = {"files": []}
  for count, rate, height, width, fields in FILES:
    if set(fields) & {"max_pixels", "min_pixels", "total_pixels", "resized_height"}:
      continue
    case = {"video": [count, rate, height, width], "fields": fields}
    metadata = VideoMetadata(total_num_frames=count, fps=rate, duration=count / rate)
    knobs = {key: value for key, value in fields.items() if key != "nframes"}
    try:
      indices = processor.sample_frames(
        metadata,
        num_frames=fields.get("nframes"),
        **({} if "nframes" in fields else {"fps": 2.0} | knobs),
      ).tolist()
      size = processor.resize(
        torch.empty((1, len(indices), 3, height, width), device="meta"),
        SizeDict(shortest_edge=4 * 28 * 28, longest_edge=16384 * 28 * 28),
        functional.InterpolationMode.BICUBIC,
        28,
      ).shape[-2:]
      case |= {"indices": indices, "size": list(size)}
    except (ValueError, ZeroDivisionError):
      case |= {"indices": None, "size": None}
    out["files"].append(case)
  return out


if __name__ == "__main__":
  mode = sys.argv[1]
  found = of_transformers() if mode == "transformers" else of_qwen()
  path = pathlib.Path(__file__).with_name(f"video_frames_{mode}.json")
  path.write_text(json.dumps(found, separators=(",", ":")) + "\n")
