"""Packaging. The folder kernels/ installs as cot_rm.kernels; see cot_rm/kernels/__init__.py."""

import setuptools

# It needs no TPU. jax[tpu] says which one fits the jax that is there.
TPU_COMPILER = ["jax[tpu]; sys_platform == 'linux'", "libtpu; sys_platform == 'linux'"]

setuptools.setup(
  name="cot_rm",
  version="0.1.0",
  description="A multimodal chain-of-thought reward model in JAX and Flax NNX",
  license="Apache-2.0",
  python_requires=">=3.11",
  packages=[
    *setuptools.find_packages(include=["cot_rm", "cot_rm.*"], exclude=["cot_rm.kernels"]),
    "cot_rm.kernels",
  ],
  package_dir={"cot_rm.kernels": "kernels"},
  package_data={
    "cot_rm": ["py.typed"],
    "cot_rm.benchmarks": ["*.json"],
    "cot_rm.prompts": ["texts/*"],
    "cot_rm.report": ["*.j2", "*.css"],
  },
  install_requires=[
    "absl-py",
    "array_record",
    "etils[epath]",
    "flax",
    "grain",
    "huggingface_hub",
    "jax>=0.10.2",
    "jinja2",
    "matplotlib",
    "ml-collections",
    "ml_dtypes",
    "numpy",
    "openai",
    "optax",
    "orbax-checkpoint",
    "pillow",
    "pyarrow",
    "pyyaml",
    "qwix",
    "rich",
    "safetensors",
    "sentencepiece",
    "tensorboardX",
    "tensorflow-datasets",
    "tensorstore",
    "tokenizers",
    "transformers>=5.10.1",  # older ones trip over a folder named kernels
  ],
  extras_require={
    "tpu": ["jax[tpu]"],
    "cuda": ["jax[cuda13]"],
    "video": ["av"],
    "heic": ["pillow-heif"],
    "serve": ["starlette", "uvicorn"],
    "notebooks": ["ipywidgets", "jupyterlab"],  # the first for progress bars of libraries
    "bench": [*TPU_COMPILER, "torch==2.13.0"],
    "test": [
      "av",
      "hypothesis",
      "ipykernel",
      *TPU_COMPILER,
      "mypy",
      "nbclient",
      "nbformat",
      "pillow-heif",
      "pytest",
      "ruff",
      "setuptools>=70.1",
      "torch==2.13.0",
    ],
  },
)
