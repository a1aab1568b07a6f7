"""Scales pictures of more than 8 bits to 8 bits.

H height and W width in pixels, C channels.
"""

import numpy as np
from absl import logging

from cot_rm.schema import BadMedia

DARK = 32  # of 255: the largest value of a picture that is nearly black


def to_8_bits(values_HWC: np.ndarray, *, name: str) -> np.ndarray:
  """The values of a picture as u8, in the given shape.

  The rule goes by the largest value of the picture:
    - true and false are 255 and 0.
    - Whole numbers up to 255 are taken as they are, those up to 65,535 are divided by 256.
    - Floats up to 1 are multiplied by 255 and rounded, those up to 255 are cut to whole numbers.

  Other pictures show values whose range nobody knows, and are refused.

  Args:
    values_HWC: any numbers, of any shape.
    name: the sample's name in errors.

  Raises BadMedia if there are numbers below 0, above those limits, or not finite.
  """
  if values_HWC.dtype == np.uint8:
    return values_HWC
  if values_HWC.dtype == bool:
    return values_HWC.astype(np.uint8) * 255
  if values_HWC.dtype.kind not in "uif":
    raise BadMedia(f"{name}: a picture of {values_HWC.dtype}; give 8-bit values")
  if not values_HWC.size:
    return values_HWC.astype(np.uint8)
  least, most = values_HWC.min(), values_HWC.max()
  floats = values_HWC.dtype.kind == "f"
  limit = 255 if floats else 65_535
  if not (np.isfinite(least) and np.isfinite(most) and least >= 0 and most <= limit):
    wanted = "0 to 1 or 0 to 255" if floats else "0 to 255 or 0 to 65,535"
    raise BadMedia(
      f"{name}: a picture of {values_HWC.dtype} with values from {least:g} to {most:g}; only "
      f"{wanted} can be shown: scale it to 8 bits first"
    )
  if floats and most <= 1:
    return np.round(values_HWC * np.float64(255)).astype(np.uint8)
  brightest = int(most if most <= 255 else most // 256)
  if brightest < DARK and (floats or most > 255):
    logging.warning(
      "%s: a picture of %s with values up to %g is shown nearly black: %d of 255 at most; if it "
      "has another range, such as 12 bits or floats of a little over 1, scale it first",
      *(name, values_HWC.dtype, most, brightest),
    )
  return values_HWC.astype(np.uint8) if most <= 255 else (values_HWC // 256).astype(np.uint8)
