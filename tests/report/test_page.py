"""Templates become pages; a value that is missing is an error."""

import jinja2
import pytest

from cot_rm.report import page


def test_a_missing_value_is_an_error():
  with pytest.raises(jinja2.UndefinedError, match="names"):
    page.render("comparison.html.j2")
