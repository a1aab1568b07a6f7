"""Base64 and data URLs: decoded, or refused with the sample."""

import base64

import pytest
from PIL import Image

from cot_rm import media
from tests.media.media_files import NAME, encoded


def test_base64_is_decoded_or_refused_with_the_sample():
  data = encoded(Image.new("RGB", (2, 2)))
  text = base64.b64encode(data).decode()
  assert media.decode_base64(text, name=NAME) == media.picture_of_base64(text) == data
  assert media.picture_of_base64("pictures/1.png") is media.picture_of_base64("QUJD") is None
  for bad in ("@", "é", ""):
    with pytest.raises(ValueError, match=NAME):
      media.decode_base64(bad, name=NAME)
