"""Bytes of safetensors files, against the safetensors package."""

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from cot_rm.checkpoints import safetensors_io


@pytest.fixture
def arrays():
  rng = np.random.default_rng(0)
  return {
    "a": rng.standard_normal((5, 3, 4)).astype(np.float32),
    "b": rng.standard_normal(7).astype(ml_dtypes.bfloat16),
    "c": rng.standard_normal((2, 6)).astype(np.float16),
  }


def entries(arrays):
  return {name: (x.dtype, x.shape) for name, x in arrays.items()}


def test_what_is_written_is_what_the_package_reads(arrays, tmp_path):
  file = tmp_path / "x.safetensors"
  assert safetensors_io.write(file, entries(arrays), iter(arrays.values())) == 5 * 48 + 14 + 24
  found = safetensors.numpy.load_file(file)
  assert found.keys() == arrays.keys()
  for name, x in arrays.items():
    assert found[name].dtype == x.dtype
    np.testing.assert_array_equal(found[name], x)


@pytest.mark.parametrize("max_bytes", [1, 40, 1 << 20])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_any_box_of_a_tensor_is_read_in_parts(arrays, tmp_path, monkeypatch, max_bytes, dtype):
  monkeypatch.setattr(safetensors_io, "MAX_READ_BYTES", max_bytes)
  file = tmp_path / "x.safetensors"
  safetensors.numpy.save_file(arrays, file)
  tensor = safetensors_io.header(file)["a"]
  for box in ((slice(0, 5), slice(0, 12)), (slice(2, 4), slice(3, 9))):
    wanted = arrays["a"].reshape(5, 12)[box].astype(dtype)
    out = np.zeros(wanted.shape, dtype)
    for job in safetensors_io.read_jobs(out, tensor, (5, 12), box):
      safetensors_io.read(*job)
    np.testing.assert_array_equal(out, wanted)


def test_half_a_file_is_named(arrays, tmp_path):
  file = tmp_path / "half.safetensors"
  safetensors.numpy.save_file(arrays, file)
  file.write_bytes(file.read_bytes()[:-20])
  with pytest.raises(ValueError, match=r"half\.safetensors: cut short"):
    safetensors_io.header(file)


def test_a_pointer_of_git_lfs_is_named(tmp_path):
  file = tmp_path / "model.safetensors"
  file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 10\n")
  with pytest.raises(ValueError, match=r"model\.safetensors: .*it is a pointer of Git LFS"):
    safetensors_io.header(file)


def test_a_file_cut_after_its_header_was_read_is_named(arrays, tmp_path):
  file = tmp_path / "cut.safetensors"
  safetensors.numpy.save_file({"a": arrays["a"]}, file)
  tensor = safetensors_io.header(file)["a"]
  file.write_bytes(file.read_bytes()[:-20])
  out = np.zeros((5, 12), np.float32)
  with pytest.raises(ValueError, match=r"cut\.safetensors: ends in the middle"):
    safetensors_io.read(out, tensor, 0, (-1, 12), (slice(0, 12),))


def test_a_type_that_is_not_read_is_named(tmp_path):
  file = tmp_path / "odd.safetensors"
  safetensors.numpy.save_file({"eight": np.zeros(3, np.int8)}, file)
  with pytest.raises(ValueError, match=r"odd\.safetensors.*eight \(I8\)"):
    safetensors_io.header(file)


def test_an_interrupted_write_leaves_no_file_of_that_name(arrays, tmp_path):
  def broken():
    yield arrays["a"]
    raise KeyboardInterrupt

  file = tmp_path / "x.safetensors"
  with pytest.raises(KeyboardInterrupt):
    safetensors_io.write(file, entries(arrays), broken())
  assert not file.exists()


def test_the_header_keeps_data_aligned(arrays, tmp_path):
  file = tmp_path / "x.safetensors"
  safetensors_io.write(file, entries(arrays), iter(arrays.values()))
  size = int.from_bytes(file.read_bytes()[:8], "little")
  assert size % 8 == 0
  assert json.loads(file.read_bytes()[8 : 8 + size])["__metadata__"] == {"format": "pt"}
