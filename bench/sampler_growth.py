"""Speed of the sampler by number of slots, length of prompts and size of groups; tables, a plot.

  python bench/sampler_growth.py [--quick] [--plot FILE]

The model of bench/sampler.py: about 100M parameters, 151,665 entries, float32, on the CPU; one
picture in every question. Tokens per second at 1 to 32 slots and with prompts of 256 to 4,096
tokens, all answers equally long; what sharing a prompt gains ("no sharing": every answer has its
question for itself) by length of the prompt and by size of the group; and what refilling slots
gains ("no refill": a batch of questions is answered to its last token before the next one) by the
same two, with answers of unequal length. Each number is a second run, after one that compiles.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import isolated
import numpy as np
import sampler

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SLOTS = (1, 2, 4, 8, 16, 32)
GROUPS = (1, 2, 4, 8, 16)
PROMPTS = (256, 512, 1024, 2048, 4096)


def cases(quick: bool) -> dict[str, list[tuple[int, int, int, int, int, dict[str, bool]]]]:
  """{study: [(x, questions, group, tokens of a prompt, max_prompts, arguments of sample)]}."""
  short = 256 if quick else 512
  slots, groups, prompts = (
    (SLOTS[::2], GROUPS[::2], PROMPTS[:2]) if quick else (SLOTS, GROUPS, PROMPTS)
  )
  return {
    "slots": [(s, max(s // 8, 1), min(s, 8), short, max(s // 8, 1), {}) for s in slots],
    "prompts": [(p, 1, 8, p, 1, {}) for p in prompts],
    "prompts, no sharing": [(p, 1, 8, p, 8, dict(alone=True)) for p in prompts],
    "groups": [(g, 1, g, 2 * short, 1, {}) for g in groups],
    "groups, no sharing": [(g, 1, g, 2 * short, g, dict(alone=True)) for g in groups],
    "unequal, groups": [(g, 8, g, short, 2, {}) for g in groups],
    "unequal, groups, no refill": [(g, 8, g, short, 2, dict(batches=True)) for g in groups],
    "unequal, prompts": [(p, 8, 8, p, 2, {}) for p in prompts],
    "unequal, prompts, no refill": [(p, 8, 8, p, 2, dict(batches=True)) for p in prompts],
  }


def make(folder: str, quick: bool) -> dict[str, int]:
  """Writes the checkpoint and an Encoded question of every length."""
  import pickle

  from tests.models.qwen2_5_vl import oracle

  c = sampler.config(quick)
  model = oracle.make(c)
  model.save_pretrained(folder)
  picture = ("image", (1, 16, 16))
  made = {
    length: oracle.prompt([8, picture, length - 8 - 66], model=model, config=c, seed=length).encoded
    for length in sorted({case[3] for some in cases(quick).values() for case in some})
  }
  Path(folder, "growth.pickle").write_bytes(pickle.dumps(made))
  return {}


def measure(folder: str, quick: bool, study: str) -> dict[int, dict[str, float]]:
  """{x: seconds and tokens per second} of one study."""
  import pickle

  prompts = pickle.loads(Path(folder, "growth.pickle").read_bytes())
  c, graphdef, params = sampler.loaded(folder)
  answer, found = 16 if quick else 64, {}
  for at, questions, group, length, max_prompts, how in cases(quick)[study]:
    some = [prompts[length]] * questions
    refills = study in ("unequal, groups", "unequal, prompts")
    engine = sampler.engine(
      c,
      graphdef,
      some,
      max_prompts=max_prompts,
      extra_prompts=0.5 if refills else 0.0,  # without refills no prompt would wait
    )
    lengths = np.full((questions, group), answer)
    if study.startswith("unequal"):
      lengths = np.random.default_rng(group).integers(1, 2 * answer, lengths.shape)
    for _ in range(2):
      _, seconds, stats = sampler.sample(engine, params, some, lengths, **how)
    found[at] = {
      "seconds": seconds,
      "tokens_per_s": int(lengths.sum()) / seconds,
      "answer_tokens_per_s": int(lengths.sum()) / stats.decode_seconds,
    }
  return found


def plot(found: dict[str, dict[str, Any]], path: str) -> None:
  """Writes the plot of all studies."""
  import matplotlib
  import matplotlib.figure

  from cot_rm.report import plots

  panels = (
    ("tokens per second by slots", "slots", [("answers", "slots", "answer_tokens_per_s")]),
    (
      "tokens per second by tokens of a prompt, 8 answers",
      "tokens",
      [
        ("shared prompt", "prompts", "tokens_per_s"),
        ("no sharing", "prompts, no sharing", "tokens_per_s"),
      ],
    ),
    (
      "seconds by answers of a prompt",
      "answers",
      [("shared prompt", "groups", "seconds"), ("no sharing", "groups, no sharing", "seconds")],
    ),
    (
      "seconds by answers of a prompt, unequal lengths",
      "answers",
      [
        ("refill", "unequal, groups", "seconds"),
        ("no refill", "unequal, groups, no refill", "seconds"),
      ],
    ),
    (
      "seconds by tokens of a prompt, unequal lengths",
      "tokens",
      [
        ("refill", "unequal, prompts", "seconds"),
        ("no refill", "unequal, prompts, no refill", "seconds"),
      ],
    ),
  )
  settings = {"svg.fonttype": "none", "svg.hashsalt": "growth", "font.size": 9}
  with matplotlib.rc_context(settings):
    figure = matplotlib.figure.Figure(figsize=(13, 6), layout="constrained")
    *places, left = figure.subplots(2, 3).flat
    left.set_axis_off()
    for (title, label, lines), axes in zip(panels, places, strict=True):
      plots.set_plain_frame(axes)
      for place, (name, study, what) in enumerate(lines):
        xs = sorted(int(at) for at in found[study])
        ys = [found[study][str(x)][what] for x in xs]
        axes.plot(xs, ys, "o-", color=plots.color(place), label=name, markersize=4)
      axes.set_xscale("log", base=2)
      axes.set_xticks(xs, [f"{x:,}" for x in xs])
      axes.set_ylim(bottom=0)
      axes.set_title(title, loc="left", color=plots.INK, fontsize=10)
      axes.set_xlabel(label, color=plots.SOFT)
      if len(lines) > 1:
        axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None, dpi=150)


def main() -> None:
  parser = isolated.parser(__doc__, "2 layers, few sizes, short answers")
  parser.add_argument("--plot", default="sampler_growth.svg", help="where the plot goes")
  args = parser.parse_args()
  if args.one:
    do = make if args.one == "make" else lambda *given: measure(*given, args.one)
    sys.stdout.write(json.dumps(do(args.folder, args.quick)) + "\n")
    return
  say = lambda line: (sys.stdout.write(line + "\n"), sys.stdout.flush())
  found = {}
  with tempfile.TemporaryDirectory() as folder:
    alone = lambda what: isolated.call(
      __file__, "--folder", folder, *["--quick"] * args.quick, "--one", what
    )
    alone("make")
    for study in cases(args.quick):
      found[study] = alone(study)
      say(f"{study}\n{'':>10}{'seconds':>10}{'tokens/s':>10}{'answers, tokens/s':>20}")
      for at, r in found[study].items():
        say(
          f"{at:>10}{r['seconds']:>10.2f}{r['tokens_per_s']:>10.1f}{r['answer_tokens_per_s']:>20.1f}"
        )
  plot(found, args.plot)
  say(f"see {args.plot}")
  gain = lambda study, other: {
    at: round(found[other][at]["seconds"] / r["seconds"], 2) for at, r in found[study].items()
  }
  say(
    json.dumps(
      {
        "tokens_per_s_by_slots": {
          at: round(r["answer_tokens_per_s"], 1) for at, r in found["slots"].items()
        },
        "sharing_by_prompt": gain("prompts", "prompts, no sharing"),
        "sharing_by_group": gain("groups", "groups, no sharing"),
        "refill_by_group": gain("unequal, groups", "unequal, groups, no refill"),
        "refill_by_prompt": gain("unequal, prompts", "unequal, prompts, no refill"),
      }
    )
  )


if __name__ == "__main__":
  main()
