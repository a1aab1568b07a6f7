"""Options are in range."""

import pytest

from cot_rm import media


@pytest.mark.parametrize("name", ["http_timeout", "http_bytes", "max_file_pixels"])
def test_a_limit_of_nothing_is_refused_by_its_name(name):
  with pytest.raises(ValueError, match=f"config.data.{name} is 0"):
    media.Options(**{name: 0})
