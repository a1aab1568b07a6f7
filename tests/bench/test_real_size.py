"""The bench of a checkpoint of true size: its folder and its small model."""

import types

import pytest


def test_a_folder_that_holds_something_is_neither_used_nor_removed(bench, tmp_path, monkeypatch):
  (tmp_path / "mine").write_text("kept")
  monkeypatch.setattr("sys.argv", ["real_size.py", "--folder", str(tmp_path)])
  with pytest.raises(SystemExit, match="is not empty"):
    bench.main()
  assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.parametrize("preset, width, heads", [("3b", 256, (2, 1)), ("7b", 448, (4, 1))])
def test_the_quick_model_has_two_layers_of_an_eighth_of_the_width(bench, preset, width, heads):
  found = bench._config(types.SimpleNamespace(preset=preset, quick=True))
  assert (found.hidden_size, found.num_layers, found.vision.depth) == (width, 2, 2)
  assert (found.num_heads, found.num_kv_heads) == heads
