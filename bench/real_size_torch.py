"""transformers' log-probabilities of an answer, with few weights in memory at a time."""

from pathlib import Path

import numpy as np
import safetensors
import torch
import transformers
from PIL import Image

from cot_rm.models import qwen2_5_vl


def score(
  folder: Path, dtype: str, example: tuple[np.ndarray, str, str]
) -> tuple[np.ndarray, list[int]]:
  """(log-probability of each token of the answer, all tokens), by transformers alone.

  Args:
    folder: a Hugging Face folder.
    dtype: of weights and arithmetic.
    example: (picture, question, answer).
  """
  picture, question, answer = example
  inputs, count = _inputs(folder, picture, question, answer)
  model = _streamed(folder, getattr(torch, dtype))
  with torch.no_grad():
    inputs["pixel_values"] = inputs["pixel_values"].to(getattr(torch, dtype))
    logits = model(**inputs, use_cache=False, logits_to_keep=count + 1).logits[0, :-1].float()
  tokens = inputs["input_ids"][0]
  logps = logits.log_softmax(-1).gather(1, tokens[-count:, None])[:, 0]
  return logps.numpy(), tokens.tolist()


def _inputs(
  folder: Path, picture: np.ndarray, question: str, answer: str
) -> tuple[dict[str, torch.Tensor], int]:
  """(inputs of the model, number of tokens of the answer)."""
  module = transformers.models.qwen2_vl.image_processing_pil_qwen2_vl
  images = module.Qwen2VLImageProcessorPil.from_pretrained(folder)(
    [Image.fromarray(picture)], return_tensors="pt"
  )
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  content = [{"type": "image"}, {"type": "text", "text": question}]
  text = tokenizer.apply_chat_template(
    [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
  )
  merged = int(images["image_grid_thw"].prod()) // 4
  text = text.replace("<|image_pad|>", "<|image_pad|>" * merged)
  tail = tokenizer.encode(answer, add_special_tokens=False)
  tokens = torch.tensor([tokenizer.encode(text, add_special_tokens=False) + tail])
  pad = tokenizer.convert_tokens_to_ids("<|image_pad|>")
  return {
    "input_ids": tokens,
    "attention_mask": torch.ones_like(tokens),
    "mm_token_type_ids": (tokens == pad).int(),
    "pixel_values": images["pixel_values"],
    "image_grid_thw": images["image_grid_thw"],
  }, len(tail)


def _streamed(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
  """A model without weights: each block reads its own before it runs, and drops them afterwards."""
  config = transformers.AutoConfig.from_pretrained(folder)
  kind = transformers.Qwen2_5_VLForConditionalGeneration
  with torch.device("meta"):
    model = kind._from_config(config, dtype=dtype, attn_implementation="sdpa").eval()
  text, visual = model.model.language_model, model.model.visual
  # Tables of rotary frequencies are no weights: they are computed again.
  for owner, name in ((text, "rotary_emb"), (visual, "rotary_pos_emb")):
    _recompute(owner, name, config)
  places = _places(folder)
  blocks = {"model.norm.": text.norm, "lm_head.": model.lm_head}
  blocks |= {"model.embed_tokens.": text.embed_tokens, "visual.merger.": visual.merger}
  blocks |= {"visual.patch_embed.": visual.patch_embed}
  blocks |= {f"model.layers.{i}.": block for i, block in enumerate(text.layers)}
  blocks |= {f"visual.blocks.{i}.": block for i, block in enumerate(visual.blocks)}
  for prefix, block in blocks.items():
    _read_before(block, prefix, places, dtype)
  return model


def _recompute(owner: torch.nn.Module, name: str, config: object) -> None:
  """Puts a rotary embedding with real tables in the place of one without."""
  old = getattr(owner, name)
  if "Vision" in type(old).__name__:
    vision = config.vision_config
    try:
      new = type(old)(vision)
    except (AttributeError, TypeError):
      new = type(old)(vision.hidden_size // vision.num_heads // 2)
  else:
    new = type(old)(config.text_config)
  setattr(owner, name, new)


def _places(folder: Path) -> dict[str, Path]:
  """{name in the release's layout: its file}."""
  places = {}
  for file in sorted(folder.glob("*.safetensors")):
    with safetensors.safe_open(file, "pt") as opened:
      places |= {qwen2_5_vl.HF_KEYS.canonical(name): file for name in opened.keys()}
  if "lm_head.weight" not in places:
    places["lm_head.weight"] = places["model.embed_tokens.weight"]
  return places


def _read_before(
  block: torch.nn.Module, prefix: str, places: dict[str, Path], dtype: torch.dtype
) -> None:
  """Makes a block read its weights before it runs, and drop them afterwards."""

  def read(module, *_):
    for name, parameter in list(module.named_parameters()):
      full = f"{prefix}{name}"
      with safetensors.safe_open(places[full], "pt") as opened:
        stored = full if full in opened.keys() else "model.embed_tokens.weight"
        value = opened.get_tensor(stored).to(dtype).clone()
      owner = module.get_submodule(name.rpartition(".")[0])
      setattr(owner, name.rpartition(".")[2], torch.nn.Parameter(value, requires_grad=False))
      assert value.shape == parameter.shape, (full, value.shape, parameter.shape)

  def drop(module, *_):
    module.to("meta")

  block.register_forward_pre_hook(read)
  block.register_forward_hook(drop)
