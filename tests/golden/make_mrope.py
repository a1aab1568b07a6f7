"""Writes M-RoPE positions as a version of transformers computes them.

mrope_hf4_49.json with transformers==4.49.0, mrope_hf4.json with 4.57.6. Run with one of the two and
torch installed: python tests/golden/make_mrope.py
"""

import json
import pathlib
import types

import torch
import transformers
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

FILES = {"4.49.0": "mrope_hf4_49.json", "4.57.6": "mrope_hf4.json"}
TEXT, VISION_START, VISION_END, IMAGE, VIDEO = 9, 3, 4, 5, 6
# (tokens_per_second, [text length, ("image", grid) or ("video", grid, seconds per grid), ...]);
# a grid counts patches: (time, rows, columns).
CASES = [
  (2, [7]),
  (2, [3, ("image", (1, 4, 6)), 5]),
  (2, [3, ("image", (1, 4, 6)), 0, ("image", (1, 10, 2)), 2, ("image", (1, 2, 2)), 1]),
  (2, [1, ("video", (3, 4, 4), 0.5), 2]),
  (2, [1, ("video", (3, 4, 4), 1.0), 2]),
  (2, [1, ("video", (5, 4, 8), 1.9), 4, ("image", (1, 6, 6)), 2]),
  (4, [2, ("image", (1, 6, 4)), 0, ("video", (3, 2, 2), 2.5), 3, ("video", (2, 4, 4), 0.9), 2]),
  (2.5, [2, ("video", (4, 2, 4), 3.0), 1]),
  (2, [2, ("video", (4, 2, 2), 3.75), 3]),
  (2, [1, ("video", (90, 2, 2), 1.1), 3, ("video", (7, 2, 4), 0.7), 2]),
]


def expected(tokens_per_second, parts):
  tokens, grids, seconds = [], {"image": [], "video": []}, []
  for part in parts:
    if isinstance(part, int):
      tokens += [TEXT] * part
      continue
    kind, grid = part[:2]
    grids[kind].append(grid)
    seconds += part[2:]
    tokens += (
      [VISION_START]
      + [{"image": IMAGE, "video": VIDEO}[kind]] * (grid[0] * grid[1] * grid[2] // 4)
      + [VISION_END]
    )
  config = types.SimpleNamespace(
    vision_config=types.SimpleNamespace(spatial_merge_size=2, tokens_per_second=tokens_per_second),
    image_token_id=IMAGE,
    video_token_id=VIDEO,
    vision_start_token_id=VISION_START,
  )
  tensor = lambda values: torch.tensor(values) if values else None
  cls = (
    modeling_qwen2_5_vl.Qwen2_5_VLForConditionalGeneration
    if transformers.__version__ == "4.49.0"
    else modeling_qwen2_5_vl.Qwen2_5_VLModel
  )
  positions, delta = cls.get_rope_index(
    types.SimpleNamespace(config=config),
    torch.tensor([tokens]),
    tensor(grids["image"]),
    tensor(grids["video"]),
    torch.tensor(seconds) if seconds else None,  # float32, as the processor makes it
  )
  return {
    "tokens_per_second": tokens_per_second,
    "parts": parts,
    "positions": positions[:, 0].T.tolist(),
    "next_position": len(tokens) + int(delta[0, 0]),
  }


if __name__ == "__main__":
  lines = ",\n".join(json.dumps(expected(*case)) for case in CASES)
  name = FILES[transformers.__version__]
  pathlib.Path(__file__).with_name(name).write_text(f"[\n{lines}\n]\n")
