"""VideoGen-RewardBench's CSV file."""

import pytest

from cot_rm.data import bad_examples, datasets
from tests.published_sets import preferred

HEADER = "path_A,path_B,A_model,B_model,prompt,VQ,MQ,TA,Overall\n"


def open_csv(folder, *labels):
  folder.media("videos/a.mp4", "videos/b.mp4")
  row = 'videos/a.mp4,videos/b.mp4,a,b,"a box, moving",A,A,A,{}\n'
  path = folder.path / "bench.csv"
  path.write_text(HEADER + "".join(row.format(label) for label in labels))
  return datasets.open(path, "train")


def test_labels(folder):
  source = open_csv(folder, "A", "B", "same", "")
  assert [(e.id, e.gold) for e in source] == [("bench-0", 1), ("bench-1", 2)]
  assert [preferred(e)[-5:] for e in source] == ["a.mp4", "b.mp4"]
  assert source[0].question == "a box, moving" and source[0].task == "video_generation"
  assert source.counts.left_out == {"tie": 1, "no label": 1}


def test_an_unknown_label_is_named(folder):
  with pytest.raises(bad_examples.TooManyBad, match="row 0: field 'Overall' must be A, B or same"):
    open_csv(folder, "C")
