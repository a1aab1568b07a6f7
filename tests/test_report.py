"""The page holds what the run made, loads nothing, and shows model text as text."""

import base64
import io
import json
import re

import numpy as np
import PIL.Image
import pytest

from cot_rm import metrics, report

FIGURES = {
  "accuracy": 0.8531,
  "first_slot_accuracy": 0.86,
  "order_consistency": 0.9,
  "parse_rate": 1.0,
  "mean_length": 41.5,
  "n": 1000,
  "seconds": 185.0,
  "families": {"image_generation": 0.91, "video_generation": 0.55},
  "blank_accuracy": 0.52,
  "new_figure": 0.25,
}


def picture(color):
  out = io.BytesIO()
  PIL.Image.new("RGB", (8, 8), color).save(out, "PNG")
  return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def record(**changes):
  return {
    "id": "vl-1",
    "task": "image_understanding",
    "question": "How many?",
    "responses": ["two", "three"],
    "gold": 1,
    "text": "<answer>Answer 1 is better</answer>",
    "answer": 1,
    "rewards": {"accuracy": 1.0},
    "reasoning_ok": True,
    "media": [picture("red")],
  } | changes


@pytest.fixture
def page(tmp_path):
  """Writes a run of one stage and returns `page(records) -> html`."""

  def write(*records):
    with metrics.Writer(tmp_path / "rl") as writer:
      for step in range(1, 60):
        writer.write(step, {"train/loss": 1 / step, "check/accuracy": 0.5 + step / 200})
      writer.samples(59, records)
    path = report.write(tmp_path, {"rl": FIGURES})
    assert path == tmp_path / "report.html"
    return path.read_text()

  return write


def test_the_table_shows_every_figure_of_a_stage(page):
  html = page()
  for text in (
    "85.3 %",
    "86.0 %",
    "90.0 %",
    "100.0 %",
    "41.5",
    "1000",
    "3 min 05 s",
    "91.0 %",
    "55.0 %",
    "52.0 %",
    "New figure",
    "0.250",
    "video generation",
  ):
    assert text in html, text


def test_curves_stand_with_the_one_read_first_in_front(page):
  html = page()
  assert re.findall(r"<b>(.*?)</b>", html) == ["check/accuracy", "train/loss"]
  assert html.count("data:image/svg+xml;base64,") == 2


def test_nothing_is_loaded_from_outside(page):
  html = page(record())
  sources = re.findall(r"""(?:src|href)=["']([^"']*)|url\(([^)]*)|@import (.*)""", html)
  assert len(sources) == 3  # two curves, one picture
  assert all(url.startswith("data:image/") for url, *_ in sources)
  assert "<script" not in html


def test_text_of_the_model_is_shown_and_never_run(page):
  nasty = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>"
  html = page(record(text=nasty, question=nasty, responses=[nasty, "b"], id=nasty))
  assert "<script" not in html and "onerror=alert(2)>" not in html
  assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 4


def test_a_source_that_is_no_picture_is_refused(page):
  with pytest.raises(ValueError, match="'vl-1'.*javascript"):
    page(record(media=["javascript:alert(1)"]))


def test_verdicts_are_coloured_by_the_gold_answer(page):
  html = page(record(), record(answer=2), record(answer=None), record(gold=None))
  assert re.findall(r'<article class="card (\w+)"', html) == [
    "right",
    "wrong",
    "unparsable",
    "unknown",
  ]


def test_every_frame_of_a_video_is_shown(page):
  frames = [picture(color) for color in ("red", "green", "blue")]
  html = page(record(task="video_generation", media=[frames, frames[:2]], responses=[]))
  assert sum(html.count(frame) for frame in frames) == 5
  assert html.count('<figcaption class="better">1') == 1


def test_the_newest_samples_are_shown(page, tmp_path):
  (tmp_path / "rl" / "samples").mkdir(parents=True)
  (tmp_path / "rl" / "samples" / "000007.jsonl").write_text(json.dumps(record(id="old")) + "\n")
  html = page(record(id="new"))
  assert "rl, step 59" in html and "· new<" in html and "· old<" not in html


def test_a_run_that_has_only_a_summary_has_a_page(tmp_path):
  assert "85.3 %" in report.write(tmp_path, {"sft": FIGURES}).read_text()


def test_the_running_mean_keeps_a_level_curve_level():
  np.testing.assert_allclose(report.smooth(np.full(40, 2.5), window=7), 2.5)
  assert abs(report.smooth(np.array([1.0, -1.0] * 50), window=10)[20:80]).max() < 0.01


@pytest.mark.parametrize(
  "found, note",
  [
    (True, "reasoning true to the scene"),
    (False, "not true to the scene"),
    ("two answers", "two answers"),
  ],
)
def test_what_is_known_of_the_reasoning_stands_under_the_sample(page, found, note):
  assert note in page(record(reasoning_ok=found)).rpartition("</pre>")[2]
