"""Fixtures of the tests of published layouts."""

import pytest

from cot_rm.data.datasets import row as rows
from tests import published_sets


@pytest.fixture
def folder(tmp_path):
  return published_sets.Folder(tmp_path)


@pytest.fixture
def make_row(tmp_path):
  """record -> Row, whose media are not looked for."""

  def make(record, **options):
    return rows.Row(
      record, "file, record 3", "file-3", tmp_path / "file.json", options=rows.Options(**options)
    )

  return make
