"""Sizes of a Qwen2.5-VL, and their conversion from and to a Hugging Face config.json.

Source: arXiv:2502.13923 and the config.json of the released checkpoints.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class VisionConfig:
  """Sizes of the vision tower."""

  depth: int = 32
  hidden_size: int = 1280
  intermediate_size: int = 3420
  num_heads: int = 16
  out_hidden_size: int = 2048  # the decoder's width
  patch_size: int = 14
  merge_size: int = 2  # merge_size ** 2 patches become one visual token
  temporal_patch_size: int = 2  # frames in a patch
  in_channels: int = 3
  window_size: int = 112  # pixels per side of an attention window
  full_attention_blocks: tuple[int, ...] = (7, 15, 23, 31)
  tokens_per_second: float = 2  # M-RoPE time steps per second of video
  rms_norm_eps: float = 1e-6

  @property
  def head_dim(self) -> int:
    """H: width of an attention head."""
    return self.hidden_size // self.num_heads

  @property
  def patch_dim(self) -> int:
    """C: number of values of a patch."""
    return self.in_channels * self.temporal_patch_size * self.patch_size**2


@dataclasses.dataclass(frozen=True)
class Config:
  """Sizes and special tokens of the model. Raises ValueError if sizes contradict each other."""

  vision: VisionConfig = VisionConfig()
  vocab_size: int = 151936
  hidden_size: int = 2048
  intermediate_size: int = 11008
  num_layers: int = 36
  num_heads: int = 16
  num_kv_heads: int = 2
  head_dim: int = 128
  rope_theta: float = 1e6
  mrope_section: tuple[int, int, int] = (16, 24, 24)  # rotary pairs for time, height, width
  rms_norm_eps: float = 1e-6
  tie_word_embeddings: bool = True
  image_token_id: int = 151655
  video_token_id: int = 151656
  vision_start_token_id: int = 151652
  vision_end_token_id: int = 151653
  bos_token_id: int | None = 151643
  eos_token_id: int | None = 151645

  def __post_init__(self) -> None:
    if 2 * sum(self.mrope_section) != self.head_dim:
      raise ValueError(
        f"mrope_section {self.mrope_section} sums to {sum(self.mrope_section)}; it must sum to "
        f"half of head_dim, which is {self.head_dim}"
      )
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
        f"num_heads (num_attention_heads) is {self.num_heads}; it must be a multiple of "
        f"num_kv_heads (num_key_value_heads), {self.num_kv_heads}"
      )
    if self.vision.out_hidden_size != self.hidden_size:
      raise ValueError(
        f"vision out_hidden_size is {self.vision.out_hidden_size}; it must equal the decoder's "
        f"hidden_size, {self.hidden_size}"
      )

  @property
  def kv_numbers_per_token(self) -> int:
    """Elements of the keys and values of one token, all layers together."""
    return 2 * self.num_layers * self.num_kv_heads * self.head_dim


def _preset(
  *,
  width: int,
  mlp: int,
  layers: int,
  heads: int,
  kv_heads: int,
  vision_mlp: int,
  vocab: int = 152064,
  tied: bool = False,
) -> Config:
  """Config of a released checkpoint."""
  return Config(
    vision=VisionConfig(intermediate_size=vision_mlp, out_hidden_size=width),
    vocab_size=vocab,
    hidden_size=width,
    intermediate_size=mlp,
    num_layers=layers,
    num_heads=heads,
    num_kv_heads=kv_heads,
    tie_word_embeddings=tied,
  )


PRESETS: Mapping[str, Config] = {
  # Learns the toy world in minutes on a laptop; vocabulary and token ids are its tokenizer's.
  "tiny": Config(
    vision=VisionConfig(
      depth=2,
      hidden_size=64,
      intermediate_size=192,
      num_heads=4,
      out_hidden_size=96,
      window_size=56,
      full_attention_blocks=(1,),
    ),
    vocab_size=512,
    hidden_size=96,
    intermediate_size=288,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=24,
    # A picture is three visual tokens wide, and columns turn by the slowest third of the rotary
    # frequencies: at the usual 1e4 neighbours are 0.002 radians apart, and left looks like right.
    rope_theta=10.0,
    mrope_section=(4, 4, 4),
    image_token_id=5,
    video_token_id=6,
    vision_start_token_id=3,
    vision_end_token_id=4,
    bos_token_id=None,
    eos_token_id=2,
  ),
  "3b": _preset(
    width=2048, mlp=11008, layers=36, heads=16, kv_heads=2, vision_mlp=3420, vocab=151936, tied=True
  ),
  "7b": _preset(width=3584, mlp=18944, layers=28, heads=28, kv_heads=4, vision_mlp=3420),
  "32b": _preset(width=5120, mlp=27648, layers=64, heads=40, kv_heads=8, vision_mlp=3456),
  "72b": _preset(width=8192, mlp=29568, layers=80, heads=64, kv_heads=8, vision_mlp=3456),
}


# Defaults of transformers' Qwen2_5_VLVisionConfig and Qwen2_5_VLTextConfig.
VISION_DEFAULTS: Mapping[str, object] = dict(
  depth=32, hidden_size=3584, intermediate_size=3420, num_heads=16, out_hidden_size=3584
)
TEXT_DEFAULTS: Mapping[str, object] = dict(
  vocab_size=152064,
  hidden_size=8192,
  intermediate_size=29568,
  num_hidden_layers=80,
  num_attention_heads=64,
  num_key_value_heads=8,
  rms_norm_eps=1e-5,
)


def from_hf(values: Mapping[str, object]) -> Config:
  """Config of a parsed config.json in the flat layout (4.x) or with a text_config (4.52 on).

  A nested config leaves out the values that are the defaults of its class in transformers.

  Raises ValueError for another family's config.json, for a missing size, and for a setting that
  this model does not support.
  """
  try:
    return _from_hf(values)
  except KeyError as error:
    raise ValueError(f"config.json: {error.args[0]} is missing") from error


def _from_hf(values: Mapping[str, object]) -> Config:
  """`from_hf`; raises KeyError for a missing size."""
  if values.get("model_type") != "qwen2_5_vl":
    raise ValueError(f"config.json has model_type {values.get('model_type')!r}, not 'qwen2_5_vl'")
  nested = {key: x for key, x in (values.get("text_config") or {}).items() if x is not None}
  text = {**(TEXT_DEFAULTS if nested else {}), **values, **nested}
  if not isinstance(values["vision_config"], Mapping):
    raise ValueError(f"config.json: vision_config is {values['vision_config']!r}, not an object")
  vision = {**VISION_DEFAULTS, **values["vision_config"]}
  rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
  _check_supported(text, vision, rope)
  width, heads = text["hidden_size"], text["num_attention_heads"]
  base = Config()
  return Config(
    vision=VisionConfig(
      depth=vision["depth"],
      hidden_size=vision["hidden_size"],
      intermediate_size=vision["intermediate_size"],
      num_heads=vision["num_heads"],
      out_hidden_size=vision["out_hidden_size"],
      patch_size=vision.get("patch_size", vision.get("spatial_patch_size", 14)),
      merge_size=vision.get("spatial_merge_size", 2),
      temporal_patch_size=vision.get("temporal_patch_size", 2),
      in_channels=vision.get("in_channels", vision.get("in_chans", 3)),
      window_size=vision.get("window_size", 112),
      full_attention_blocks=tuple(vision.get("fullatt_block_indexes", (7, 15, 23, 31))),
      tokens_per_second=vision.get("tokens_per_second", 4),
    ),
    vocab_size=text["vocab_size"],
    hidden_size=width,
    intermediate_size=text["intermediate_size"],
    num_layers=text["num_hidden_layers"],
    num_heads=heads,
    num_kv_heads=text["num_key_value_heads"],
    head_dim=text.get("head_dim") or width // heads,
    rope_theta=rope.get("rope_theta", text.get("rope_theta", 1e6)),
    mrope_section=tuple(rope["mrope_section"]),
    rms_norm_eps=text["rms_norm_eps"],
    # Some releases write the tie into text_config and the default at the top level.
    tie_word_embeddings=any(part.get("tie_word_embeddings", False) for part in (values, text)),
    image_token_id=values.get("image_token_id", base.image_token_id),
    video_token_id=values.get("video_token_id", base.video_token_id),
    vision_start_token_id=values.get("vision_start_token_id", base.vision_start_token_id),
    vision_end_token_id=values.get("vision_end_token_id", base.vision_end_token_id),
    bos_token_id=text.get("bos_token_id"),
    eos_token_id=text.get("eos_token_id"),
  )


def _check_supported(
  text: Mapping[str, object], vision: Mapping[str, object], rope: Mapping[str, object]
) -> None:
  """Raises ValueError for a setting that this model does not support."""
  kind = rope.get("rope_type", rope.get("type", "mrope"))
  for name, wanted, found in (
    ("hidden_act", "silu", text.get("hidden_act", "silu")),
    ("vision_config.hidden_act", "silu", vision.get("hidden_act", "silu")),
    ("use_sliding_window", False, text.get("use_sliding_window", False)),
    # transformers 5 calls the type "default"; mrope_section makes it M-RoPE.
    ("rope type", "mrope", {"default": "mrope"}.get(kind, kind)),
  ):
    if found != wanted:
      raise ValueError(f"config.json: {name} is {found!r}; only {wanted!r} is supported")


def to_hf(config: Config, *, dtype: str = "float32") -> dict[str, object]:
  """The config.json of a Config, in the flat layout of the released checkpoints.

  dtype: of the saved parameters.
  """
  vision = config.vision
  return {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    "torch_dtype": dtype,
    "vocab_size": config.vocab_size,
    "hidden_size": config.hidden_size,
    "intermediate_size": config.intermediate_size,
    "num_hidden_layers": config.num_layers,
    "num_attention_heads": config.num_heads,
    "num_key_value_heads": config.num_kv_heads,
    "head_dim": config.head_dim,
    "hidden_act": "silu",
    "rms_norm_eps": config.rms_norm_eps,
    "rope_theta": config.rope_theta,
    "rope_scaling": {"type": "mrope", "mrope_section": list(config.mrope_section)},
    "use_sliding_window": False,
    "max_position_embeddings": 128000,
    "tie_word_embeddings": config.tie_word_embeddings,
    "image_token_id": config.image_token_id,
    "video_token_id": config.video_token_id,
    "vision_start_token_id": config.vision_start_token_id,
    "vision_end_token_id": config.vision_end_token_id,
    "bos_token_id": config.bos_token_id,
    "eos_token_id": config.eos_token_id,
    "vision_config": {
      "model_type": "qwen2_5_vl",
      "depth": vision.depth,
      "hidden_size": vision.hidden_size,
      "intermediate_size": vision.intermediate_size,
      "num_heads": vision.num_heads,
      "out_hidden_size": vision.out_hidden_size,
      "patch_size": vision.patch_size,
      "spatial_patch_size": vision.patch_size,
      "spatial_merge_size": vision.merge_size,
      "temporal_patch_size": vision.temporal_patch_size,
      "in_channels": vision.in_channels,
      "in_chans": vision.in_channels,
      "window_size": vision.window_size,
      "fullatt_block_indexes": list(vision.full_attention_blocks),
      "tokens_per_second": vision.tokens_per_second,
      "hidden_act": "silu",
    },
  }
