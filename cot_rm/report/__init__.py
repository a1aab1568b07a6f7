"""The report of a run: a self-contained HTML page with results, curves and sample judgements."""

import json
import os
from collections.abc import Sequence

from etils import epath

from cot_rm import files
from cot_rm.report import (
  calibration_section,
  curves,
  data_section,
  interval_plots,
  page,
  run_info,
  sample_cards,
  tables,
  voting_section,
)


def write(
  workdir: str | os.PathLike[str],
  summary: tables.Summary,
  *,
  baselines: tables.Summary | None = None,
  asked: str = "",
  published: tuple[Sequence[str], Sequence[tables.PublishedRow]] = ((), ()),
) -> epath.Path:
  """Writes workdir/report.html. The page loads nothing from the network or from other files.

  It shows what the workdir has of these: the summary; the curves of each <stage>/metrics.jsonl;
  the newest <stage>/samples/<step>.jsonl of each stage and of each model in the summary (see
  sample_cards.card); the <stage>/figures.json of distill and reject; the config, commands and
  versions in config.json; the durations in <stage>/done.json.

  Args:
    workdir: folder of the run.
    summary: {model: figures}, the "stages" of summary.json; see stages/eval.py.
    baselines: {name: figures} of judges without a model.
    asked: the benchmark, and how it was asked and scored, in words.
    published: names of figures, and the results of others that have values for them.

  Returns:
    The path of the page.
  """
  workdir = epath.Path(workdir)
  run = run_info.read_json(workdir / "config.json")
  plan = run_info.plan(run)
  short = tables.short_names(summary)
  summary = {short[model]: figures for model, figures in summary.items()}
  folders = {
    "/".join([*folder.parts[len(workdir.parts) : -1], short.get(folder.name, folder.name)]): folder
    for folder in run_info.result_folders(workdir, list(plan), short)
  }
  plotted = {name: curves.plot_all(path / "metrics.jsonl") for name, path in folders.items()}
  samples = {name: sample_cards.newest(path) for name, path in folders.items()}
  text = page.render(
    "page.html.j2",
    title=workdir.name,
    subtitle=run_info.subtitle(run, summary),
    stages=run_info.stages(workdir, run),
    asked=asked,
    headline=tables.headline(summary, run_info.start_models(run)),
    baselines=tables.baselines(baselines or {}),
    published=tables.published(*published),
    other_figures=tables.other_figures(summary),
    definitions=tables.definitions(summary),
    reproduction=run_info.reproduction_cards(workdir, short),
    accuracy=interval_plots.families(summary),
    by_family=tables.by_family(summary),
    by_family_plus=tables.by_family(summary, "families_plus"),
    by_family_tau=tables.by_family(summary, "families_tau"),
    voting=voting_section.section(summary),
    position_bias=interval_plots.position_bias(summary),
    calibration=calibration_section.section(summary),
    lengths=interval_plots.lengths(summary),
    by_length=tables.by_length(summary),
    data=data_section.sections(workdir, plan),
    curves={name: found for name, found in plotted.items() if any(found)},
    samples={name: found for name, found in samples.items() if found},
    open_samples=_best_model(summary),
    machine=run_info.machine(run),
    commands=run_info.commands(run),
    config=json.dumps(run["config"], indent=2) if run else "",
  )
  path = workdir / "report.html"
  files.write_atomic(path, text)
  return path


def _best_model(summary: tables.Summary) -> str | None:
  """The model of the highest accuracy, the last of equals; its samples are shown unfolded."""
  return max(reversed(summary), key=lambda model: summary[model]["accuracy"], default=None)
