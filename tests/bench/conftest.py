"""Scripts of bench/ as modules: bench/ is not a package."""

import importlib.util
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="module")
def bench(request):
  """The script that the test file is named after."""
  test = request.path.relative_to(Path(__file__).parent)
  path = BENCH / test.with_name(test.name.removeprefix("test_"))
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(BENCH)  # one script may use another
    spec.loader.exec_module(module)
    yield module
