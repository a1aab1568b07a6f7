"""M-RoPE positions against two generations of transformers, and by hand."""

import json
import pathlib
import types

import numpy as np
import pytest

from cot_rm.models.qwen2_5_vl import mrope

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "mrope_hf4.json"
CASES = json.loads(GOLDEN.read_text())


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


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_hf4_equals_transformers_4(case):
  length, found = spans(case["parts"])
  got, after = mrope.positions(
    length, found, tokens_per_second=case["tokens_per_second"], mode="hf4"
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
  want, delta = cls.get_rope_index(
    model,
    torch.zeros((1, length), dtype=torch.long),
    torch.tensor(kinds)[None],
    tensor(grids[1]),
    tensor(grids[2]),
    seconds or None,
  )
  got, after = mrope.positions(
    length, found, tokens_per_second=case["tokens_per_second"], mode="hf5"
  )
  np.testing.assert_array_equal(got, want[:, 0].T.numpy())
  assert after == length + int(delta[0, 0])


@pytest.mark.parametrize(
  "mode, seconds, times, text_after",
  [
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
  with pytest.raises(ValueError, match="'hf6'; known: hf4, hf5"):
    mrope.positions(1, [], tokens_per_second=2, mode="hf6")
