"""transformers' torch Qwen2.5-VL with random weights, and prompts in its terms and in ours.

Nothing here uses our processor: window order, frames and M-RoPE positions are torch's own.
"""

import dataclasses

import numpy as np
import torch
import transformers
from transformers import vision_utils

from cot_rm.batch import Encoded
from cot_rm.checkpoints import huggingface
from cot_rm.models import qwen2_5_vl

# Every size differs from the others where it may, and the sections of M-RoPE are not alike.
CONFIG = qwen2_5_vl.Config(
  vision=qwen2_5_vl.VisionConfig(
    depth=3,
    hidden_size=48,
    intermediate_size=80,
    num_heads=3,
    out_hidden_size=64,
    window_size=56,
    full_attention_blocks=(1,),
  ),
  vocab_size=160,
  hidden_size=64,
  intermediate_size=96,
  num_layers=3,
  num_heads=4,
  num_kv_heads=2,
  head_dim=16,
  rope_theta=1e4,
  mrope_section=(2, 3, 3),
  rms_norm_eps=1e-6,
  tie_word_embeddings=False,
  image_token_id=5,
  video_token_id=6,
  vision_start_token_id=3,
  vision_end_token_id=4,
)
TIED = dataclasses.replace(CONFIG, tie_word_embeddings=True)

# A prompt is a list of parts: a number of text tokens, or a (frames, rows, columns) of patches with
# "image" or the seconds between frames before it.
PROMPTS = {
  "text": [23],
  "one picture": [4, ("image", (1, 6, 8)), 7],
  "three pictures": [2, ("image", (1, 10, 6)), 3, ("image", (1, 4, 14)), ("image", (1, 6, 6)), 5],
  "video": [3, (1.5, (3, 6, 8)), 6],
}


def make(config=CONFIG, seed=0):
  """The torch model, float32, its weights far from their defaults, norms and biases too."""
  torch.manual_seed(seed)
  model = transformers.Qwen2_5_VLForConditionalGeneration._from_config(
    transformers.Qwen2_5_VLConfig(**qwen2_5_vl.to_hf(config)), attn_implementation="eager"
  )
  with torch.no_grad():
    for name, p in model.named_parameters():
      if p.ndim > 1:
        p.normal_(std=p[0].numel() ** -0.5)
      elif name.endswith("bias"):
        p.normal_(std=0.3)
      else:
        p.normal_(mean=1.0, std=0.3)
  return model.float().eval()


def port(model, folder):
  """Our parameters of a torch model, by way of a checkpoint in `folder`."""
  model.save_pretrained(folder)
  return huggingface.load(folder)[2]


@dataclasses.dataclass(frozen=True)
class Prompt:
  encoded: Encoded
  inputs: dict  # what torch's forward takes


def prompt(parts, *, model, config=CONFIG, seed=0):
  """A Prompt of parts (see PROMPTS), its tokens and patches random."""
  rng = np.random.default_rng(seed)
  merge = config.vision.merge_size
  special = {
    config.image_token_id,
    config.video_token_id,
    config.vision_start_token_id,
    config.vision_end_token_id,
  }
  words = np.setdiff1d(np.arange(config.vocab_size), list(special))
  tokens, types, grids, seconds = [], [], [], []
  for part in parts:
    if isinstance(part, int):
      tokens += rng.choice(words, part).tolist()
      types += [0] * part
      continue
    kind, grid = part
    count = int(np.prod(grid)) // merge**2
    still = kind == "image"
    grids.append(grid)
    seconds += [] if still else [kind]
    tokens += [
      config.vision_start_token_id,
      *[config.image_token_id if still else config.video_token_id] * count,
      config.vision_end_token_id,
    ]
    types += [0, *[1 if still else 2] * count, 0]
  tokens, types = np.array(tokens), np.array(types)
  inputs = {
    "input_ids": torch.tensor(tokens)[None],
    "attention_mask": torch.ones(1, len(tokens), dtype=torch.long),
  }
  picture = dict(
    patches=np.zeros((0, config.vision.patch_dim), np.float32),
    hw=np.zeros((0, 2), np.int32),
    windows=np.zeros(0, np.int32),
    frames=np.zeros(0, np.int32),
  )
  visual = np.full(len(tokens), -1, np.int32)
  positions = np.repeat(np.arange(len(tokens))[:, None], 3, 1)
  if grids:
    raw = rng.standard_normal((sum(map(np.prod, grids)), config.vision.patch_dim))
    raw = raw.astype(np.float32)
    picture, places = windowed(raw, grids, config)
    visual[types > 0] = places
    kind = "videos" if seconds else "images"
    grid_name = "video_grid_thw" if seconds else "image_grid_thw"
    inputs |= {
      "pixel_values_videos" if kind == "videos" else "pixel_values": torch.tensor(raw),
      grid_name: torch.tensor(grids),
      "mm_token_type_ids": torch.tensor(types)[None],
    }
    if seconds:
      inputs["second_per_grid_ts"] = torch.tensor(seconds)
    found, _ = model.model.get_rope_index(
      inputs["input_ids"],
      inputs["mm_token_type_ids"],
      **{grid_name: inputs[grid_name]},
      second_per_grid_ts=inputs.get("second_per_grid_ts"),
      attention_mask=inputs["attention_mask"],
    )
    positions = found[:, 0].T.numpy()
  encoded = Encoded(
    id=str(parts),
    tokens=tokens.astype(np.int32),
    positions=positions.astype(np.int32),
    visual=visual,
    next_position=int(positions.max()) + 1,
    patches_per_token=config.vision.merge_size**2,
    **picture,
  )
  return Prompt(encoded, inputs)


def windowed(raw_PC, grids, config):
  """Encoded's picture fields of patches in raster order, and each visual token's place in them."""
  c = config.vision
  unit = c.merge_size**2
  grids = torch.tensor(grids)
  index, cuts = vision_utils.get_vision_window_index(
    grids, c.merge_size, c.window_size, c.patch_size
  )
  order = (index[:, None] * unit + torch.arange(unit)).reshape(-1).numpy()
  segments = lambda cuts: np.repeat(np.arange(1, len(cuts)), np.diff(cuts.numpy())).astype(np.int32)
  hw = vision_utils.get_vision_position_ids(grids, c.merge_size).numpy()
  return dict(
    patches=raw_PC[order],
    hw=hw[order].astype(np.int32),
    windows=segments(cuts),
    frames=segments(vision_utils.get_vision_cu_seqlens(grids)),
  ), np.argsort(index.numpy())
