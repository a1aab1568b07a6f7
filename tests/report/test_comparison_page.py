"""The page of a comparison: figures, settings, and pairs side by side."""

import pytest

from cot_rm.report import comparison_page
from tests.report.test_init import NASTY, record

SHARE = {"first": 0.5, "second": 0.75, "difference": 0.25, "interval": [-0.01, 0.51], "n": 1200}
COMPARED = {
  "overall": SHARE,
  "families": {"image_generation": SHARE | {"difference": -0.1}},
  **{"both": 1000, "first_alone": 3, "second_alone": 5, "neither": 7},
}


def test_figures_have_their_differences_in_points():
  table = comparison_page.figures(COMPARED, ("a", "b"))
  assert [head.text for head in table.heads] == ["Pairs", "a", "b", "Difference", "n"]
  assert [cell.text for cell in table.rows[0].cells] == ["50.0 %", "75.0 %", "+25.0", "1,200"]
  assert table.rows[0].cells[2].note == "-1.0 to +51.0"
  assert table.rows[1].name == "image generation" and table.rows[1].cells[2].text == "-10.0"


@pytest.mark.parametrize("name", ["sft", NASTY])
def test_pairs_stand_side_by_side_and_texts_are_texts(tmp_path, name):
  one = comparison_page.Differing(
    record(text=f"first {NASTY}"), record(text="second", answer=2), -1.0, "as given"
  )
  path = comparison_page.write(
    tmp_path / "c.html",
    COMPARED,
    (name, "rl"),
    differing=[one],
    asked="bench, mode odd: backwards",
    conditions=["seed: 0 and 1"],
  )
  page = path.read_text()
  assert "<script>" not in page and page.count("<article") == 2
  assert "bench, mode odd: backwards." in page
  assert "seed: 0 and 1" in page and "1,000" in page and "as given" in page
  empty = comparison_page.write(tmp_path / "d.html", COMPARED, ("a", "b"), differing=[])
  assert "Nowhere" in empty.read_text()
