"""Buffers that arrays take over, and boxes of tensors."""

import jax
import numpy as np
import pytest

from cot_rm.checkpoints import huggingface, parameter_arrays, safetensors_io, weights_files
from cot_rm.models import qwen2_5_vl
from tests.models.qwen2_5_vl import oracle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("untied")
  oracle.make(oracle.CONFIG).save_pretrained(folder, max_shard_size="200KB")
  return folder


def test_a_process_reads_what_its_devices_need(folder):
  """A mesh of which only some devices are ours cannot be had here: the layout is stood in for."""
  loaded = huggingface.load(folder)[2]["layers"]["mlp"]["up_proj"]["weight"]
  wanted = np.asarray(loaded[...])
  tensors = weights_files.scan(folder, qwen2_5_vl.HF_KEYS)
  stack = [tensors[f"model.layers.{i}.mlp.up_proj.weight"] for i in range(3)]
  box = (slice(0, 3), slice(48, 96), slice(16, 48))
  out = np.zeros((3, 48, 32), np.float32)
  for row, tensor in zip(out, stack, strict=True):
    for job in safetensors_io.read_jobs(row, tensor, (96, 64), box[1:]):
      safetensors_io.read(*job)
  np.testing.assert_array_equal(out, wanted[box])


def test_loading_takes_the_files_over_without_a_second_copy():
  """A CPU device uses the buffer that was read into."""
  buffer = parameter_arrays.empty((4, 100), np.dtype(np.float32))
  buffer[:] = 1
  assert buffer.ctypes.data % 64 == 0
  assert jax.device_put(buffer).unsafe_buffer_pointer() == buffer.ctypes.data
