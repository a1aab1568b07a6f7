"""Parts of a bench in processes of their own."""

from pathlib import Path

import pytest


def test_a_part_says_what_it_found_in_its_last_line(bench, tmp_path):
  script = tmp_path / "part.py"
  script.write_text("import sys; print('a table'); print('{\"got\": \"' + sys.argv[1] + '\"}')")
  assert bench.call(str(script), "this") == {"got": "this"}


def test_a_part_that_fails_is_not_taken_for_a_figure_and_says_why(bench, tmp_path):
  script = tmp_path / "part.py"
  script.write_text("print('{}'); raise SystemExit('out of memory')")
  with pytest.raises(RuntimeError, match=r"part\.py(.|\n)*out of memory"):
    bench.call(str(script))


def test_the_peak_grows_with_what_is_held(bench, tmp_path):
  script = tmp_path / "part.py"
  script.write_text(
    "import sys; sys.path.insert(0, sys.argv[1]); import isolated\n"
    "before = isolated.peak(); held = bytearray(b'x' * (64 << 20)); print(isolated.peak() - before)"
  )
  folder = Path(bench.__file__).parent
  assert bench.call(str(script), str(folder)) > 60 << 20
