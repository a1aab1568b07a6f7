"""Writes mrope_hf4.json: M-RoPE positions as transformers 4.57.6 computes them.

Run with transformers==4.57.6 and torch installed: python tests/golden/make_mrope_hf4.py
"""

import json
import pathlib
import types

import torch
import transformers
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

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
  positions, delta = modeling_qwen2_5_vl.Qwen2_5_VLModel.get_rope_index(
    types.SimpleNamespace(config=config),
    torch.tensor([tokens]),
    tensor(grids["image"]),
    tensor(grids["video"]),
    seconds or None,
  )
  return {
    "tokens_per_second": tokens_per_second,
    "parts": parts,
    "positions": positions[:, 0].T.tolist(),
    "next_position": len(tokens) + int(delta[0, 0]),
  }


if __name__ == "__main__":
  assert transformers.__version__ == "4.57.6", transformers.__version__
  lines = ",\n".join(json.dumps(expected(*case)) for case in CASES)
  pathlib.Path(__file__).with_name("mrope_hf4.json").write_text(f"[\n{lines}\n]\n")
