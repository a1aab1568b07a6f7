"""The run's page: one HTML file with its figures, curves, and samples with their pictures."""

import base64
import io
import json

import jinja2
import matplotlib
import matplotlib.figure
import matplotlib.ticker
import numpy as np
from etils import epath

from cot_rm import metrics

# The figures of a stage in the order in which they are read. (name, head, what it is, kind)
FIGURES = (
  ("accuracy", "Accuracy", "share of right verdicts, mean of both orders", "share"),
  ("accuracy_pictures", "Pictures", "accuracy of the families without video", "share"),
  ("first_slot_accuracy", "First slot", "accuracy where the better one stands first", "share"),
  ("order_consistency", "Consistent", "share of pairs on whose orders it agrees", "share"),
  ("parse_rate", "Parsed", "share of answers inside the grammar", "share"),
  ("accuracy_parsed", "Of parsed", "accuracy among the parsed answers", "share"),
  ("fidelity", "Fidelity", "share of what it says of the scene that is true", "share"),
  ("blank_accuracy", "Blank", "accuracy where the pictures are blank: near a half", "share"),
  ("blank_accuracy_parsed", "Blank parsed", "the same among the parsed answers", "share"),
  ("cut", "Cut", "share of answers that reached the limit of tokens", "share"),
  ("mean_length", "Tokens", "mean length of an answer", "number"),
  ("n", "n", "pairs asked", "number"),
  ("steps", "Steps", "training steps", "number"),
  ("seconds", "Time", "training time", "time"),
)
# Curves that stand first; the others follow in the order of their names.
LEADING = (
  "check/accuracy",
  "reward/total",
  "reward/accuracy",
  "train/loss",
  "train/kl",
  "check/order_consistency",
  "check/fidelity",
  "rl/mean_length",
)
SHOWN = 9  # curves of a stage that stand open; the rest unfolds
SAMPLES = 12  # samples of a stage
FAINT, LINE = "#a9b8d6", "#2f5fb3"


def write(workdir, summary):
  """Writes workdir/report.html, whole and self-contained: it loads nothing from anywhere.

  Curves come from every workdir/<stage>/metrics.jsonl, samples from the newest
  workdir/<stage>/samples/<step>.jsonl, the run's facts from workdir/config.json where it is there.

  Args:
    workdir: of the run.
    summary: {stage: figures}, figures being numbers by name and `families`, accuracy by task.

  Returns:
    The path of the page.
  """
  workdir = epath.Path(workdir)
  families = sorted({task for figures in summary.values() for task in figures["families"]})
  record = workdir / "config.json"
  run = json.loads(record.read_text()) if record.exists() else None
  order = _order(workdir, run)
  name = lambda folder: "/".join(folder.parts[len(workdir.parts) :])
  page = (
    jinja2.Environment(
      loader=jinja2.FileSystemLoader(str(epath.Path(__file__).parent)),
      autoescape=True,
      undefined=jinja2.StrictUndefined,
      trim_blocks=True,
      lstrip_blocks=True,
    )
    .get_template("report.html.j2")
    .render(
      title=workdir.name,
      facts=_facts(run),
      table=_table(summary),
      families=[family.replace("_", " ") for family in families],
      by_family=[
        (stage, [_shown(figures["families"].get(family), "share") for family in families])
        for stage, figures in summary.items()
      ],
      curves=[
        (name(folder), curves)
        for folder in order
        if (folder / "metrics.jsonl").exists() and (curves := _curves(folder / "metrics.jsonl"))
      ],
      shown=SHOWN,
      samples=[
        (name(where), step, [_card(record) for record in records])
        for where, step, records in _samples(order)
      ],
    )
  )
  path = workdir / "report.html"
  path.write_text(page)
  return path


def _order(workdir, run):
  """Folders of the stages that wrote something to show, as the run's config lists them."""
  listed = [entry.partition(":")[0] for entry in run["config"]["stages"]] if run else []
  found = {path.parent for path in workdir.glob("*/metrics.jsonl")}
  for depth in ("*", "*/*"):  # a stage's own samples, and those of each model that eval scored
    found |= {path.parent.parent for path in workdir.glob(f"{depth}/samples/*.jsonl")}
  place = {name: i for i, name in enumerate(listed)}
  return sorted(found, key=lambda folder: (place.get(folder.name, len(place)), folder.name))


def _facts(run):
  """[(name, text)] that stand under the title."""
  if not run:
    return []
  last = run["runs"][-1]
  return [
    ("Command", " ".join(last["command"])),
    ("Started", last["time"]),
    ("Commit", last["commit"] or "-"),
    ("Devices", last["devices"]),
    ("Versions", ", ".join(f"{k} {v}" for k, v in last["versions"].items())),
  ]


def _table(summary):
  """Heads [(head, what it is)] and rows [(stage, cells)]: the known figures first."""
  known = {name for name, *_ in FIGURES} | {"families"}
  present = dict.fromkeys(name for figures in summary.values() for name in figures)
  columns = [row for row in FIGURES if row[0] in present]
  columns += [
    (name, name.replace("_", " ").capitalize(), name, "number")
    for name in present
    if name not in known
  ]
  rows = [
    (stage, [_shown(figures.get(name), kind) for name, _, _, kind in columns])
    for stage, figures in summary.items()
  ]
  return {"heads": [(head, meaning) for _, head, meaning, _ in columns], "rows": rows}


def _shown(value, kind):
  if value is None or not np.isfinite(value):
    return "–"
  if kind == "share":
    return f"{100 * value:.1f} %"
  return metrics.clock(value) if kind == "time" else metrics.cell(value)


def _curves(path):
  """[(name, the newest value, data URL of its plot)] of one metrics.jsonl."""
  curves = metrics.read(path)
  place = {name: i for i, name in enumerate(LEADING)}
  names = sorted(curves, key=lambda name: (place.get(name, len(place)), name))
  return [(name, f"{curves[name][1][-1]:.4g}", plot(*curves[name])) for name in names]


def plot(steps, values):
  """A curve as the data URL of an SVG: the values faint, their running mean strong."""
  steps, values = np.asarray(steps, float), np.asarray(values, float)
  with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "report"}):
    figure = matplotlib.figure.Figure(figsize=(3.6, 1.9), layout="constrained")
    axes = figure.subplots()
    if len(values) < 30:  # few enough to look at each
      axes.plot(steps, values, color=LINE, linewidth=1.6, marker="o", markersize=3)
    else:
      axes.plot(steps, values, color=FAINT, linewidth=0.8)
      axes.plot(steps, smooth(values, window=max(len(values) // 30, 5)), color=LINE, linewidth=1.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c5ccd8")
    axes.grid(axis="y", color="#e8ecf2", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors="#5b6678", labelsize=8, length=0)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
    out = io.BytesIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
  return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()


def smooth(values, *, window):
  """The centred mean over `window` values, over fewer at the ends."""
  ones = np.ones(window)
  return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def _samples(order):
  """(stage, step, records) of the newest samples of every stage that has some."""
  for folder in order:
    files = sorted(folder.glob("samples/*.jsonl"), key=lambda path: (len(path.stem), path.stem))
    if files:
      lines = files[-1].read_text().splitlines()[:SAMPLES]
      yield folder, files[-1].stem.lstrip("0"), [json.loads(line) for line in lines]


def _card(record):
  """One sample as the template wants it.

  A record: id, task, question, responses, gold, text, answer, rewards {name: number}, media (each a
  data URL, or a list of them for the frames of a video), and reasoning_ok: true, false, null where
  nothing can be said, or in words what is wrong.
  """
  media = [item if isinstance(item, list) else [item] for item in record["media"]]
  for url in (url for frames in media for url in frames):
    if not url.startswith("data:image/"):
      raise ValueError(
        f"sample {record['id']!r}: media must be data URLs of pictures, not {url[:40]!r}"
      )
  if record["answer"] is None:
    verdict = "unparsable"
  elif record["gold"] is None:
    verdict = "unknown"
  else:
    verdict = "right" if record["answer"] == record["gold"] else "wrong"
  notes = {True: "reasoning true to the scene", False: "reasoning not true to the scene", None: ""}
  return {
    **record,
    "note": notes.get(record["reasoning_ok"], record["reasoning_ok"]),
    "media": media,
    "task_words": record["task"].replace("_", " "),
    "generation": record["task"].endswith("generation"),
    "verdict": verdict,
    "rewards": [(name, metrics.cell(value)) for name, value in record["rewards"].items()],
  }
