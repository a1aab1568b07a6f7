"""The page shows every part of a run, loads nothing, and shows the model's text as text."""

import base64
import io
import json
import re

import PIL.Image
import pytest

from cot_rm import metrics, report

FIGURES = {
  "accuracy": 0.8531,
  "order_consistency": 0.9,
  "verdict_slots": 0.53,
  "parse_rate": 1.0,
  "mean_length": 41.5,
  "n": 1000,
  "seconds": 185.0,
  "families": {"image_generation": 0.91, "video_generation": 0.55},
  "intervals": {"accuracy": [0.83, 0.875], "families/image_generation": [0.88, 0.94]},
}
VOTING = {
  "at": [1, 5],
  "vote": [0.7, 0.8],
  "any": [0.7, 0.95],
  "vote_intervals": [[0.6, 0.8]] * 2,
  "any_intervals": [[0.6, 0.99]] * 2,
  "tokens": [40.0, 200.0],
  "tokens_stopped": [40.0, 140.5],
  "families": {},
  "samples": 5,
  "n": 1000,
  "temperature": 1.0,
}
PUBLIC = {
  "families_plus": {"mcq": 0.4},
  "families_tau": {"video_generation": 0.4321},
  "accuracy_plus": 0.5,
  "definitions": {"accuracy": {"what": "share of <i>right</i> verdicts", "n": 2500}},
}
TEXTS = {"lengths": {"longer by 10 to 25 %": 0.625}, "verdicts_longer": 0.6, "position_bias": -0.1}
BIN = {"probability": 0.62, "accuracy": 0.5, "interval": [0.3, 0.7], "n": 20}
SURE = {
  "calibration": {
    "pairs": {
      **{"ece": 0.3456, "brier": 0.2, "log_loss": 0.6, "probability": 0.62, "accuracy": 0.5},
      **{"bins": [BIN], "n": 20},
      "selective": {"coverage": [0.5, 1.0], "accuracy": [0.5, 0.5], "area": 0.5, "n": 20},
    }
  }
}
NASTY = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>"


def picture(color):
  out = io.BytesIO()
  PIL.Image.new("RGB", (8, 8), color).save(out, "PNG")
  return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def record(**changes):
  return {
    "id": "vl-1",
    "task": "image_generation",
    "question": "a red square",
    "responses": [],
    "gold": 1,
    "text": "<answer>Image 1 is better</answer>",
    "answer": 1,
    "rewards": {"accuracy": 1.0},
    "reasoning_ok": "",
    "media": [picture("red"), picture("blue")],
  } | changes


@pytest.fixture
def page(tmp_path):
  """`page(*records, **figures) -> html` of a run with a single stage."""

  def write(*records, **figures):
    with metrics.Writer(tmp_path / "rl") as writer:
      writer.write(1, {"train/loss": 0.5, "my/own": 2.0})
      if records:
        writer.write_samples(59, records)
    path = report.write(tmp_path, {"rl": FIGURES | figures})
    assert path == tmp_path / "report.html"
    return path.read_text()

  return write


def test_the_page_has_a_section_for_every_result(page, tmp_path):
  (tmp_path / "reject").mkdir()
  made = {"kept": 30, "hard": 10, "reasonings": 30, "samples": 40, "right": 0.75, "unparsable": 0}
  (tmp_path / "reject" / "figures.json").write_text(json.dumps(made))
  last = {"time": "2026-01-02T03:04:05", "commit": "abcdef", "devices": "1 cpu", "versions": {}}
  run = {"config": {"stages": ["rl", "eval"], "seed": 3, "rl": {"start": "<sft>"}}, "runs": [last]}
  run["runs"][0]["command"] = ["main.py", "--config", "a b.py"]
  (tmp_path / "config.json").write_text(json.dumps(run))
  html = page(
    record(kind="best"), record(kind="worst"), record(), voting=VOTING, **PUBLIC, **TEXTS, **SURE
  )
  for text in (
    *("85.3 %", "83.0–87.5", "90.0 %", "41.5", "3 min 05 s", "88.0–94.0", "video generation"),
    *("voting@5", "5 samples at temperature 1.0 for each order of 1,000 pairs", "Position bias"),
    *("share of &lt;i&gt;right&lt;/i&gt; verdicts", "2,500", "Acc+ by task family", "40.0 %"),
    *("tau by task family", "43.2 %"),
    *("Length of the texts", "longer by 10 to 25 %", "62.5 %", "Verdicts for the longer text"),
    *("Pairs, both orders together", "Reliability", "34.6 %"),
    *("Accuracy over tokens", "140.5"),
    *("pairs kept by rejection sampling", "Loss", "my/own", "1 more metric of rl"),
    *("<h3>Best</h3>", "<h3>Worst</h3>", "<h3>Unselected</h3>", "step 59"),
    *("main.py --config &#39;a b.py&#39;", "abcdef", "&#34;start&#34;: &#34;&lt;sft&gt;&#34;"),
  ):
    assert text in html, text
  assert {link for link in re.findall(r'href="#(\w+)"', html)} == set(
    re.findall(r'id="(\w+)"', html)
  )


def test_nothing_is_loaded_from_outside(page):
  html = page(record(), voting=VOTING)
  sources = re.findall(r"""(?:src|href)=["']([^"']*)|url\(([^)]*)|@import (.*)""", html)
  assert len(sources) > 8
  assert all(url.startswith(("data:image/", "#")) for url, *_ in sources)
  assert "<script" not in html


def test_text_of_the_model_is_shown_and_never_run(page):
  html = page(
    record(text=NASTY, question=NASTY, responses=[NASTY, "b"], id=NASTY, rewards={NASTY: 1.0})
  )
  assert "<script" not in html and "onerror=alert(2)>" not in html
  assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 5


def test_names_of_families_and_models_are_escaped_too(tmp_path):
  html = report.write(tmp_path, {NASTY: FIGURES | {"families": {NASTY: 0.5}}}).read_text()
  assert "<script" not in html and "&lt;script&gt;" in html


def test_the_preferred_candidate_and_the_verdict_are_marked(page):
  html = page(record(), record(answer=2), record(media=[[picture("red")] * 3, picture("blue")]))
  assert re.findall(r'<article class="card (\w+)"', html) == ["right", "wrong", "right"]
  assert html.count('<figcaption class="preferred">1 · preferred') == 3
  assert html.count('<figure class="video">') == 1 and html.count(picture("red")) == 5


@pytest.mark.parametrize("summary", [{}, {"sft": {"accuracy": 0.8531, "families": {}}}])
def test_a_run_with_few_results_has_a_page(tmp_path, summary):
  html = report.write(tmp_path, summary).read_text()
  assert ("85.3 %" in html) == bool(summary)
  assert "Curves" not in html and "Samples" not in html and "Voting" not in html


def test_without_curves_there_is_no_heading_for_them(tmp_path):
  with metrics.Writer(tmp_path / "eval" / "rl") as writer:
    writer.write_samples(0, [record()])
  html = report.write(tmp_path, {"rl": FIGURES}).read_text()
  assert "Curves" not in html and "eval/rl" in html


def test_a_run_of_an_earlier_version_opens(tmp_path):
  config = {
    "stages": ["world", "sft", "again:sft", "control:sft", "eval"],
    "seed": 3,
    "sft": {"start": "world"},
    "again": {"start": "sft"},
    "more": {"start": "sft"},
    "control": "sft",
  }
  start = {"command": ["main.py"], "time": "2026-01-02T03:04:05", "commit": None, "versions": {}}
  run = {"config": config, "runs": [start | {"devices": "1 cpu"}]}
  (tmp_path / "config.json").write_text(json.dumps(run))
  with metrics.Writer(tmp_path / "eval" / "again") as writer:
    writer.write_samples(0, [record()])
  models = {"sft": 0.5, "again": 0.75, "control": 0.25}
  figures = {model: FIGURES | {"accuracy": accuracy} for model, accuracy in models.items()}
  html = report.write(tmp_path, figures).read_text()
  assert html.count("<small>over sft</small>") == 2 and "+25.0" in html and "-25.0" in html
  assert "<b>again</b> (sft)" in html and "<b>eval/again</b>" in html


def test_a_mixture_is_shown_with_its_pictures_between_its_texts(page):
  places = {"places": [[0], [4], [0]], "media": [picture("red"), picture("blue"), picture("red")]}
  html = page(record(question=NASTY, responses=["one two", "three"], gold=1, **places))
  assert "<script" not in html and html.count(picture("red")) == 2
  assert '<div class="mixed preferred">1. one <span class="media"><img' in html
  assert html.index("one <span") < html.index(picture("blue")) < html.index("</span>two")


def test_models_named_by_folders_are_told_apart_and_the_mode_is_said(tmp_path):
  long = "home--someone--checkpoints--the-project"
  models = [f"{long}--{name}--rl--model" for name in ("run1", "run2")]
  for model in models:
    (tmp_path / "eval" / model / "samples").mkdir(parents=True)
    line = json.dumps(record() | {"kind": "best"})
    (tmp_path / "eval" / model / "samples" / "0.jsonl").write_text(line)
  path = report.write(tmp_path, dict.fromkeys(models, FIGURES), asked="bench, mode <i>odd</i>")
  page = path.read_text()
  assert long not in page and "eval/run1--rl--model" in page
  assert page.count('title="run2--rl--model"') >= 2
  assert "<p>bench, mode &lt;i&gt;odd&lt;/i&gt;.</p>" in page
