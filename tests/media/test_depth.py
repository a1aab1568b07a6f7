"""Pictures of more than 8 bits are scaled by one rule, or refused."""

import numpy as np
import pytest

from cot_rm.media import depth
from cot_rm.schema import BadMedia
from tests.media.media_files import NAME


@pytest.mark.parametrize(
  "values, kind, wanted",
  [
    ([0, 128, 255], np.uint8, [0, 128, 255]),
    ([0, 1, 1], bool, [0, 255, 255]),
    ([0, 128, 255], np.uint16, [0, 128, 255]),
    ([0, 256, 65_535], np.uint16, [0, 1, 255]),
    ([0, 257 * 77, 65_535], ">u2", [0, 77, 255]),
    ([0, 40_000, 65_535], np.int32, [0, 156, 255]),
    ([0, 0.5, 1], np.float32, [0, 128, 255]),
    ([0, 0.5, 1], np.float16, [0, 128, 255]),
    ([0, 99.9, 255], np.float64, [0, 99, 255]),
    ([], np.float32, []),
  ],
)
def test_values_are_scaled_by_their_largest(values, kind, wanted):
  got = depth.to_8_bits(np.array(values, kind), name=NAME)
  assert got.dtype == np.uint8 and got.tolist() == wanted


@pytest.mark.parametrize(
  "values, kind",
  [
    ([-1, 0], np.int32),
    ([0, 65_536], np.int32),
    ([0, 255.5], np.float32),
    ([-0.1, 0.5], np.float32),
    ([0, np.nan], np.float32),
    ([0, np.inf], np.float32),
    ([1j], np.complex64),
    (["a"], None),
    ([None], object),
  ],
)
def test_values_of_an_unknown_range_are_refused_by_name(values, kind):
  with pytest.raises(BadMedia, match=NAME):
    depth.to_8_bits(np.array(values, kind), name=NAME)


def test_a_picture_that_becomes_nearly_black_is_said(caplog):
  depth.to_8_bits(np.array([0, 40_000], np.uint16), name=NAME)
  depth.to_8_bits(np.array([0, 255], np.uint16), name=NAME)
  assert not caplog.text
  assert depth.to_8_bits(np.array([0, 4_095], np.uint16), name=NAME).tolist() == [0, 15]
  assert f"{NAME}: a picture of uint16 with values up to 4095 is shown nearly black: 15 of 255" in (
    caplog.text
  )
  assert depth.to_8_bits(np.array([0, 1.02], np.float32), name=NAME).tolist() == [0, 1]
  assert "float32 with values up to 1.02 is shown nearly black" in caplog.text
