"""Samples as the page shows them: a question, its pictures, what the model says, what it earned."""

import json

from cot_rm import metrics

KINDS = ("best", "worst", "sample")
PLAIN = 12  # plain samples of a stage that are shown

REASONS = {True: "reasoning true to the scene", False: "reasoning not true to the scene", None: ""}


def newest(folder):
  """The newest samples of a stage: (step, {kind: cards}); None where it has none."""
  files = sorted(folder.glob("samples/*.jsonl"), key=lambda path: (len(path.stem), path.stem))
  if not files:
    return None
  kinds = {kind: [] for kind in KINDS}
  for line in files[-1].read_text().splitlines():
    record = json.loads(line)
    kind = record.get("kind", "sample")
    if kind not in kinds:
      raise ValueError(f"sample {record['id']!r} of {files[-1]} is {kind!r}; known: {KINDS}")
    kinds[kind].append(card(record))
  kinds["sample"] = kinds["sample"][:PLAIN]
  return files[-1].stem.lstrip("0"), kinds


def card(record):
  """One sample as the template wants it.

  Args:
    record: id, task, question, responses, gold, text, answer, rewards {name: number}, media (each a
      data URL, or a list of them for the frames of a video), and reasoning_ok: true, false, null or
      "" where nothing is to be said, or in words what is wrong.

  Raises:
    ValueError: a medium that is no data URL of a picture; the message names the sample.
  """
  media = [item if isinstance(item, list) else [item] for item in record["media"]]
  for url in (url for frames in media for url in frames):
    if not url.startswith("data:image/"):
      raise ValueError(
        f"sample {record['id']!r}: media must be data URLs of pictures, not {url[:40]!r}"
      )
  answer, gold = record["answer"], record["gold"]
  if answer is None:
    verdict, says = "unparsable", "no verdict"
  else:
    verdict = "unknown" if gold is None else "right" if answer == gold else "wrong"
    says = f"says {answer}"
  marks = {"right": "✓ ", "wrong": "✗ ", "unparsable": "? ", "unknown": ""}
  reasoning = record["reasoning_ok"]
  return {
    **{key: record[key] for key in ("id", "gold", "question", "responses", "text")},
    "task": record["task"].replace("_", " "),
    "media": media,
    # The candidates are the media themselves.
    "generation": record["task"].endswith("generation"),
    "verdict": verdict,
    "says": marks[verdict] + says + (f", better is {gold}" if gold is not None else ""),
    "rewards": [(name, metrics.format_value(value)) for name, value in record["rewards"].items()],
    "note": reasoning if isinstance(reasoning, str) else REASONS[reasoning],
  }
