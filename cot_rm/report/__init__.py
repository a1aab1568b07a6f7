"""The run's page: one HTML file with its figures, curves, and samples with their pictures."""

import json

import jinja2
from etils import epath

from cot_rm import files
from cot_rm.report import (
  curves,
  data_section,
  interval_plots,
  run_info,
  sample_cards,
  tables,
  voting_section,
)


def write(workdir, summary):
  """Writes workdir/report.html, whole and self-contained: it loads nothing from anywhere.

  All that is in the workdir is shown, and what is not there is left out: curves of each
  <stage>/metrics.jsonl; the newest <stage>/samples/<step>.jsonl of stages and of models that eval
  scored, see cards.card; the <stage>/figures.json of distill and reject; the run's facts of
  config.json and of each <stage>/done.json.

  Args:
    workdir: of the run.
    summary: {model: figures}, see stages/eval.

  Returns:
    The path of the page.
  """
  workdir = epath.Path(workdir)
  run = run_info.read(workdir / "config.json")
  folders = run_info.order(workdir, run_info.plan(run))
  name = lambda folder: "/".join(folder.parts[len(workdir.parts) :])
  best = max(summary, key=lambda stage: summary[stage]["accuracy"], default=None)
  page = (
    jinja2.Environment(
      loader=jinja2.FileSystemLoader(str(epath.Path(__file__).parent)),
      autoescape=True,
      undefined=jinja2.StrictUndefined,
      trim_blocks=True,
      lstrip_blocks=True,
    )
    .get_template("page.html.j2")
    .render(
      title=workdir.name,
      subtitle=run_info.subtitle(run, summary),
      stages=run_info.stages(workdir, run),
      headline=tables.headline(summary, run_info.starts(run)),
      rest=tables.rest(summary),
      accuracy=interval_plots.families(summary),
      by_family=tables.by_family(summary),
      by_family_plus=tables.by_family(summary, "families_plus"),
      definitions=tables.definitions(summary),
      votes=voting_section.section(summary),
      orders=interval_plots.orders(summary),
      made=data_section.sections(workdir, run_info.plan(run)),
      curves=[
        (name(folder), *found)
        for folder in folders
        if any(found := curves.plot_all(folder / "metrics.jsonl"))
      ],
      samples=[
        (name(folder), folder.name == best, *found)
        for folder in folders
        if (found := sample_cards.newest(folder))
      ],
      machine=run_info.machine(run),
      commands=run_info.commands(run),
      config=json.dumps(run["config"], indent=2) if run else "",
    )
  )
  path = workdir / "report.html"
  files.write_atomic(path, page)
  return path
