"""Names of the parameters in Hugging Face checkpoints of Qwen2.5-VL."""

from cot_rm.models.checkpoint_keys import CheckpointKeys
from cot_rm.models.qwen2_5_vl.config import Config


def _patch_embed(config: Config) -> tuple[int, ...]:
  """Shape of the convolution's kernel, which is a matrix in our model."""
  c = config.vision
  return (c.hidden_size, c.in_channels, c.temporal_patch_size, c.patch_size, c.patch_size)


HF_KEYS = CheckpointKeys(
  prefixes={
    "visual.blocks.": "visual.blocks.{layer}.",
    "visual.merger.fc1.": "visual.merger.mlp.0.",
    "visual.merger.fc2.": "visual.merger.mlp.2.",
    "visual.": "visual.",
    "layers.": "model.layers.{layer}.",
    "embed_tokens.": "model.embed_tokens.",
    "norm.": "model.norm.",
    "lm_head.": "lm_head.",
  },
  aliases={
    "model.visual.": "visual.",  # in memory since transformers 4.52, and in files of some trainers
    "model.language_model.model.": "model.",
    "model.language_model.lm_head.": "lm_head.",
    "model.language_model.": "model.",
    "language_model.model.": "model.",  # a decoder as a causal model of its own
    "language_model.lm_head.": "lm_head.",
    "language_model.": "model.",  # the base model without its head
    "model.lm_head.": "lm_head.",
    "embed_tokens.": "model.embed_tokens.",  # the decoder alone beside `visual.*`
    "layers.": "model.layers.",
    "norm.": "model.norm.",
  },
  shapes={"visual.patch_embed.proj.weight": _patch_embed},
  tied="lm_head.weight",
  embeddings="model.embed_tokens.weight",
  wrappers=("module.", "_orig_mod.", "_fsdp_wrapped_module.", "base_model.model."),
  buffers=(".inv_freq",),
)
