"""M-RoPE positions against three generations of transformers, and by hand."""

import json
import pathlib
import types

import numpy as np
import pytest

from cot_rm.models.qwen2_5_vl import mrope

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"
OF_4 = {mode: json.loads((GOLDEN / f"mrope_{mode}.json").read_text()) for mode in ("hf4_49", "hf4")}
CASES = OF_4["hf4"]


def spans(parts):
  """(length, spans) of a golden case, with a start and an end token around each picture."""
  length, found = 0, []
  for part in parts:
    if isinstance(part, int):
      length += part
      continue
    t, h, w = part[1]
    found.append(mrope.Span(length + 1, (t, h // 2, w // 2), part[2] if len(part) > 2 else None))
    length += found[-1].length + 2
  return length, found


@pytest.mark.parametrize("mode", OF_4)
@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_modes_of_4_equal_transformers_4_49_and_4_57(number, mode):
  case = OF_4[mode][number]
  length, found = spans(case["parts"])
  got, after = mrope.positions(
    length, found, tokens_per_second=case["tokens_per_second"], mode=mode
  )
  np.testing.assert_array_equal(got, case["positions"])
  assert after == case["next_position"]
  assert got.dtype == np.int32


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_hf5_equals_transformers_5(case):
  torch = pytest.importorskip("torch")
  modeling = pytest.importorskip("transformers.models.qwen2_5_vl.modeling_qwen2_5_vl")
  length, found = spans(case["parts"])
  kinds = np.zeros(length, np.int64)
  grids, seconds = {1: [], 2: []}, []
  for part, span in zip([p for p in case["parts"] if isinstance(p, list)], found, strict=True):
    kind = {"image": 1, "video": 2}[part[0]]
    kinds[span.start : span.start + span.length] = kind
    grids[kind].append(part[1])
    seconds += part[2:]
  model = types.SimpleNamespace(
    config=types.SimpleNamespace(
      vision_config=types.SimpleNamespace(
        spatial_merge_size=2, tokens_per_second=case["tokens_per_second"]
      )
    )
  )
  cls = modeling.Qwen2_5_VLModel
  model.get_vision_position_ids = cls.get_vision_position_ids.__get__(model)
  tensor = lambda values: torch.tensor(values) if values else None
  want, _ = cls.get_rope_index(
    model,
    torch.zeros((1, length), dtype=torch.long),
    torch.tensor(kinds)[None],
    tensor(grids[1]),
    tensor(grids[2]),
    tensor(seconds),
  )
  got, after = mrope.positions(
    length, found, tokens_per_second=case["tokens_per_second"], mode="hf5"
  )
  np.testing.assert_array_equal(got, want[:, 0].T.numpy())
  # transformers 5's forward and generate go on behind the last token; rope_deltas, which they do
  # not use there, would say more behind a long video.
  assert after == int(want[:, 0, -1].max()) + 1


@pytest.mark.parametrize(
  "mode, seconds, times, text_after",
  [
    ("hf4_49", 0.5, [2, 3, 4], [5, 6]),
    ("hf4_49", 1.7, [2, 5, 8], [9, 10]),
    ("hf4", 0.5, [2, 2, 2], [4, 5]),
    ("hf5", 0.5, [2, 3, 4], [4, 5]),
    ("hf4", 1.0, [2, 4, 6], [7, 8]),
    ("hf5", 1.0, [2, 4, 6], [4, 5]),
  ],
)
def test_the_modes_differ_on_video_by_hand(mode, seconds, times, text_after):
  video = mrope.Span(2, (3, 2, 2), seconds)
  got, _ = mrope.positions(16, [video], tokens_per_second=2, mode=mode)
  assert got[2:14:4, 0].tolist() == times
  assert got[14:, 0].tolist() == text_after


def test_text_alone_counts_on_all_axes():
  got, after = mrope.positions(3, [], tokens_per_second=2, mode="hf4")
  assert got.tolist() == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]
  assert after == 3
  assert mrope.positions(0, [], tokens_per_second=2, mode="hf4")[1] == 0


def test_an_unknown_mode_names_the_known_ones():
  with pytest.raises(ValueError, match="'hf6'; known: hf4_49, hf4, hf5"):
    mrope.positions(1, [], tokens_per_second=2, mode="hf6")


@pytest.mark.parametrize(
  "mode, steps, text", [("hf4_49", [3, 10, 18, 25], 26), ("hf4", [3, 9, 15, 21], 22)]
)
def test_the_rounding_of_4_49_and_of_4_57(mode, steps, text):
  got, _ = mrope.positions(9, [mrope.Span(3, (4, 1, 1), 3.75)], tokens_per_second=2, mode=mode)
  assert got[3:7, 0].tolist() == steps
  assert got[7, 0] == text


@pytest.mark.parametrize("mode", mrope.MODES)
def test_the_answer_goes_on_behind_the_last_text(mode):
  video = mrope.Span(1, (20, 2, 2), 2.0)
  got, after = mrope.positions(85, [video], tokens_per_second=2, mode=mode)
  assert after == got[-1, 0] + 1


def test_videos_whose_time_stands_still_are_told():
  collapses = lambda seconds, frames=3, mode="hf4": mrope.collapses(
    mrope.Span(0, (frames, 1, 1), seconds), mode=mode
  )
  assert collapses(0.99)
  assert not collapses(1.0) and not collapses(1 - 1e-12)  # 1 in float32, as in transformers
  assert not collapses(0.5, frames=1) and not collapses(None)
  assert not collapses(0.5, mode="hf4_49") and not collapses(0.5, mode="hf5")
