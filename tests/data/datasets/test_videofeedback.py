"""VideoFeedback has no pairs, and says so."""

import pytest

from cot_rm.data.datasets import videofeedback


def test_every_record_is_left_out_with_the_reason(folder, make_row):
  record = {"id": "0", "images": ["0.jpg"], "text prompt": "it moves", "visual quality": 3}
  record["conversations"] = [{"from": "human", "value": "..."}]
  (left_out,) = videofeedback.pairs(make_row(record))
  assert left_out.reason == "pointwise: one candidate is scored"
  with pytest.raises(ValueError, match="no examples in it: of 1 record.*1 left out: pointwise"):
    folder.open([record], "data_annotated.json")
