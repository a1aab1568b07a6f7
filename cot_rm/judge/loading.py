"""Opens a judge from a folder or a hub id."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, get_args

import jax
from flax import nnx
from jax.sharding import Mesh

from cot_rm import media, models, registry, sharding
from cot_rm.checkpoints import model_folder
from cot_rm.data import packing
from cot_rm.judge.face import Judge
from cot_rm.policy import BUCKETS, ModelSpec
from cot_rm.sampler.limits import Limits

Dtype = Literal["float32", "bfloat16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)


def load(
  path: str | os.PathLike[str],
  *,
  base: str | os.PathLike[str] = "",
  dtype: Dtype = "float32",
  compute_dtype: Dtype | None = None,
  min_pixels: int | None = None,
  max_pixels: int | None = None,
  fps: float | None = None,
  max_frames: int | None = None,
  mrope: Literal["hf4_49", "hf4", "hf5"] | None = None,
  video: Mapping[str, object] | None = None,
  options: media.Options = media.DEFAULT,
  control_tokens: Literal["refuse", "text"] = "refuse",
  buckets: packing.Buckets = BUCKETS,
  max_prompts: int = 8,
  sampler: Limits | None = None,
  mesh: Mesh | None = None,
  rules: sharding.Rules | None = None,
  sample_mesh: Mesh | None = None,
  sample_rules: sharding.Rules | None = None,
  remat: bool = False,
) -> Judge:
  """Opens a judge.

      judge = cot_rm.load("Qwen/Qwen2.5-VL-3B-Instruct", dtype="bfloat16")

  Args:
    path: a Hugging Face folder, a hub id, a model folder that a stage wrote, or a folder with a
      LoRA adapter as PEFT writes it, which is merged into its base.
    base: of an adapter, a Hugging Face folder or a hub id; "": as its adapter_config.json says.
    dtype, compute_dtype: of the parameters, and of products and activations; None: the same.
    min_pixels, max_pixels: area of an image or frame after resizing. None, here and for the next
      four: as the folder says.
    fps, max_frames: frames of a video that are read per second, and at most.
    mrope: positions of videos as transformers 4.49 ("hf4_49"), 4.52 ("hf4") or 5 ("hf5") has them.
    video: fields of media.VideoRules: which frames of a video, and bounds of their size.
    options: how media are opened: whether URLs are fetched, EXIF, transparency, 16 bits.
    control_tokens: "refuse" texts with control tokens (<|im_end|>), or read these as plain "text".
    buckets: the shapes to which prompts are padded; the largest one bounds a prompt.
    max_prompts: prompts that are answered at the same time, at most; fewer need less memory.
    sampler: limits of the sampler: chunks, KV-cache memory, format of its weights; None: defaults.
    mesh, rules: of the parameters: devices, {logical axis: mesh axes}; None: the first device.
    sample_mesh, sample_rules: of the sampler's arrays; None: as `mesh` and `rules`.
    remat: a train step recomputes activations in its backward pass instead of storing them.

  Raises:
    FileNotFoundError: no such folder, or a file of it is missing.
    ValueError: an unknown dtype, or tensors or a tokenizer that do not fit config.json: all named.
  """
  _check_dtypes(dtype=dtype, compute_dtype=compute_dtype or dtype)
  mesh = mesh or sharding.make_mesh({"data": 1}, jax.devices()[:1])
  rules = rules or {}
  opened = model_folder.open_model(path, base=base, mesh=mesh, rules=rules, dtype=dtype)
  family, limits, compute = models.get(opened.family), sampler or Limits(), compute_dtype or dtype
  sample_compute = "bfloat16" if limits.weights == "bfloat16" else compute
  return Judge(
    opened,
    family.Processor.load(
      opened.folder,
      min_pixels=min_pixels,
      max_pixels=max_pixels,
      fps=fps,
      max_frames=max_frames,
      mrope=mrope,
      video=video,
      options=options,
      control_tokens=control_tokens,
    ),
    train=ModelSpec(_graphdef(opened, compute, remat), compute, mesh, rules),
    sample=ModelSpec(
      _graphdef(opened, sample_compute, remat),
      sample_compute,
      mesh if sample_mesh is None else sample_mesh,
      rules if sample_rules is None else sample_rules,
    ),
    buckets=buckets,
    max_prompts=max_prompts,
    limits=limits,
  )


def _graphdef(opened: model_folder.OpenedModel, compute_dtype: str, remat: bool) -> nnx.GraphDef:
  """The graph of the opened model's family and sizes."""
  family = models.get(opened.family)

  def make() -> models.Model:
    return family.Model(opened.config, rngs=nnx.Rngs(0), dtype=compute_dtype, remat=remat)

  return nnx.split(nnx.eval_shape(make))[0]


def _check_dtypes(**given: str) -> None:
  for name, value in given.items():
    if value not in DTYPES:
      raise ValueError(f"{name} is {value!r}; {registry.hint(value, DTYPES)}")
