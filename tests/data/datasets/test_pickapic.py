"""Pick-a-Pic and sets for diffusion DPO."""

from tests.published_sets import encoded, preferred

ROW = {
  "caption": "a box",
  "jpg_0": encoded("red"),
  "jpg_1": encoded("blue"),
  "has_label": True,
  "image_0_uid": "u0",
}


def test_labels_ties_and_rows_without_a_label(folder):
  labels = [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
  records = [
    {**ROW, "ranking_id": i, "label_0": a, "label_1": b, "has_label": i != 3}
    for i, (a, b) in enumerate(labels)
  ]
  source = folder.open(records, "train-0.parquet")
  assert [(e.id, e.gold) for e in source] == [("0", 1), ("1", 2)]
  assert [preferred(e) for e in source] == [encoded("red"), encoded("blue")]
  assert source.counts.left_out == {"tie": 1, "no label": 1}
  assert source[0].question == "a box" and source[0].extra["image_0_uid"] == "u0"
  kept = folder.open(records, "train-0.parquet", ties="keep")
  assert [(e.gold, e.tie) for e in kept] == [(1, False), (2, False), (None, True)]


def test_diffusion_dpo_has_paths_and_one_label(folder):
  folder.media("a.jpg", "b.jpg")
  record = {"id": "x", "caption": "a box", "jpg_0": "a.jpg", "jpg_1": "b.jpg"}
  source = folder.open([{**record, "label_0": 1}, {**record, "label_0": 0}, record])
  assert [(e.id, e.gold) for e in source] == [("x", 1), ("x#2", 2)]
  assert source.counts.left_out == {"no label": 1}


def test_a_row_of_text_may_say_that_it_has_no_label(folder):
  folder.media("a.jpg", "b.jpg")
  row = {"caption": "?", "jpg_0": "a.jpg", "jpg_1": "b.jpg", "label_0": "1.0", "label_1": "0.0"}
  source = folder.open([{**row, "has_label": said} for said in ("True", "False", "true", 0)])
  assert [e.gold for e in source] == [1, 1] and source.counts.left_out == {"no label": 2}
