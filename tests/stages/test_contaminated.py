"""Pairs that a model was trained on are found, scored apart, and left out of the next import."""

import dataclasses
import json

import pytest

from cot_rm.data import array_record, datasets, jsonl
from cot_rm.stages import eval as eval_stage
from cot_rm.stages import importing, preflight
from tests.stages import answers_by_rule


@pytest.fixture
def heldout(workdir, config):
  """The pairs that are scored; the first two are in the training data under other names."""
  pairs = list(datasets.open(workdir / "world" / "data", "heldout"))[: config.eval.pairs]
  others = list(datasets.open(workdir / "world" / "data", "train"))[:4]
  seen = [dataclasses.replace(p, id=f"web/{i}", source="web") for i, p in enumerate(pairs[:2])]
  config.eval.contamination = str(workdir / "training.jsonl")
  jsonl.write(config.eval.contamination, [*others, *seen])
  return pairs


def test_contaminated_pairs_are_listed_and_the_others_scored_apart(
  workdir, config, heldout, monkeypatch, capsys
):
  right = {pair.id for pair in heldout[:2]}  # the model knows them by heart
  answers_by_rule.install(monkeypatch, lambda e: e.gold if e.id in right else 1, "text")
  config.eval.blank_pairs = 0
  eval_stage.run(config, workdir, "eval")
  found = json.loads((workdir / "eval" / "contamination.json").read_text())
  assert found["counts"]["pairs"] == len(heldout) and found["counts"]["training examples"] == 6
  contaminated = {m["id"] for m in found["matches"] if m["picture"] or m["answers"]}
  assert contaminated >= right and found["counts"]["contaminated"] == len(contaminated)
  exclude = (workdir / "eval" / "exclude.txt").read_text().splitlines()
  assert {"web/0", "web/1"} <= {*exclude}
  figures = json.loads((workdir / "summary.json").read_text())["stages"]["sft"]
  assert figures["accuracy_clean"] == 0.5 < figures["accuracy"]
  assert figures["definitions"]["accuracy_clean"]["n"] == len(heldout) - len(contaminated)
  low, high = figures["intervals"]["accuracy_clean"]
  assert low <= 0.5 <= high and "contaminated" in capsys.readouterr().out


def test_training_data_that_are_not_there_are_said_before_a_model_is_trained(
  workdir, config, heldout
):
  assert preflight.of_stage(config, workdir, "eval", "eval").faults == []
  config.eval.contamination = f"{config.eval.contamination}, nowhere.jsonl"
  (fault,) = preflight.of_stage(config, workdir, "eval", "eval").faults
  assert "nowhere.jsonl" in fault


def test_an_import_leaves_out_what_is_in_the_list(workdir, config, heldout, tmp_path):
  (tmp_path / "exclude.txt").write_text("web/0\nweb/1\n")
  config.importing.source, config.importing.exclude = (
    config.eval.contamination,
    str(tmp_path / "exclude.txt"),
  )
  config.importing.val = 0
  importing.run(config, workdir, "import")
  kept = [example.id for example in array_record.open(workdir / "import" / "data", "train")]
  assert len(kept) == 4 and not [name for name in kept if "web/" in name]
  counts = json.loads((workdir / "import" / "figures.json").read_text())["sources"]
  assert "in config.import.exclude" in json.dumps(counts)
  config.importing.exclude = "nowhere.txt"
  (fault,) = importing.preflight(config, workdir, "import").faults
  assert "config.import.exclude is 'nowhere.txt'" in fault


def test_a_list_that_names_every_example_is_said_before_the_import(
  workdir, config, heldout, tmp_path
):
  every = [example.id for example in datasets.open(config.eval.contamination, "train")]
  (tmp_path / "all.txt").write_text("\n".join(every))
  config.importing.source = config.eval.contamination
  config.importing.exclude = str(tmp_path / "all.txt")
  (fault,) = importing.preflight(config, workdir, "import").faults
  assert "config.import.exclude" in fault and "all.txt" in fault and "none is left" in fault
