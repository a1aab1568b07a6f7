import json
import shutil

import pytest
from etils import epath
from PIL import Image

from configs import base
from cot_rm import main, stages
from cot_rm.data import array_record, datasets, jsonl
from cot_rm.stages import importing, preflight
from cot_rm.toy_world import world


@pytest.fixture
def pairs(tmp_path):
  """A JSONL file of pairs of the built-in world, without references."""
  path = tmp_path / "pairs.jsonl"
  jsonl.write(path, world.examples(world.World(side=56), "heldout", count=24))
  return path


def _config(source, **knobs):
  c = base.get_config()
  c.stages, c.grammar = ("import",), "brief"
  c.importing.update(source=str(source), references="drop", **knobs)
  return c


def _run(config, workdir, name="import"):
  return stages.get("import").run(config, epath.Path(workdir), name)


def test_a_source_becomes_a_data_set_that_stages_open(pairs, tmp_path):
  figures = _run(_config(pairs, val=4), tmp_path / "run")
  assert figures["left_out"] == 0 and figures["train"] + figures["check"] == 24
  read = [
    example
    for split in ("train", "check")
    for example in datasets.open(tmp_path / "run/import/data", split)
  ]
  given = {example.id: example for example in jsonl.read(pairs)}
  assert {e.id for e in read} == given.keys()
  assert all(e.media == given[e.id].media and e.gold == given[e.id].gold for e in read)


def test_published_pairs_are_imported_and_bad_records_listed(tmp_path):
  pair = {"prompt": "How many?", "chosen": "one", "rejected": "two"}
  lines = [json.dumps({**pair, "id": str(i)}) for i in range(4)] + ['{"prompt": ', '{"prompt": 5}']
  (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
  config = _config(tmp_path / "pairs.jsonl", val=0)
  with pytest.raises(ValueError, match="2 of 6 examples cannot be used"):
    _run(config, tmp_path / "run")
  config.data.max_bad = 2
  assert _run(config, tmp_path / "run")["train"] == 4
  skipped = [json.loads(line) for line in (tmp_path / "run/import/skipped.jsonl").open()]
  assert [one["id"][-6:] for one in skipped] == ["line 5", "line 6"]
  assert (
    "line 5: not JSON" in skipped[0]["reason"] and "'chosen' is missing" in skipped[1]["reason"]
  )


def test_an_import_that_ended_begins_again_when_more_media_may_be_opened(tmp_path):
  for name, side in (("large", 60), ("small", 8)):
    Image.new("RGB", (side, side)).save(tmp_path / f"{name}.png")
  pair = {"prompt": "How many?", "chosen": "one", "rejected": "two"}
  records = [{**pair, "id": name, "image": f"{name}.png"} for name in ("large", "small", "none")]
  (tmp_path / "pairs.json").write_text(json.dumps(records))
  config = _config(tmp_path / "pairs.json", val=0, shard_mb=0)
  config.data.max_bad, config.data.max_file_pixels = 1, 100
  with pytest.raises(ValueError, match="2 examples cannot be used"):
    _run(config, tmp_path / "run")
  config.data.max_file_pixels = 10_000
  assert _run(config, tmp_path / "run") == {
    "train": 2,
    "left_out": 1,
    "GB": pytest.approx(0, abs=1),
  }


def test_it_runs_from_the_command_line_by_its_own_name(pairs, tmp_path, monkeypatch):
  argv = [
    "main",
    "--config",
    "configs/import.py",
    f"--config.import.source={pairs}",
    "--config.import.val=3",
    "--config.grammar=brief",
    "--config.import.references=drop",
    "--noconfig.import.needs_gold",
    "--workdir",
    str(tmp_path / "run"),
  ]
  monkeypatch.setattr("sys.argv", argv)
  parsed = {}
  monkeypatch.setattr(main.app, "run", lambda run, flags_parser: parsed.update(argv=main.sys.argv))
  main.start()
  assert f"--config.importing.source={pairs}" in parsed["argv"]
  assert "--noconfig.importing.needs_gold" in parsed["argv"]


def test_several_sources_are_one_data_set_with_figures_for_each(pairs, tmp_path, capsys):
  other = tmp_path / "other.jsonl"
  jsonl.write(other, world.examples(world.World(side=56), "check", count=8))
  figures = _run(_config(f"{pairs}, {other}"), tmp_path / "run")
  assert figures["train"] + figures["check"] == 32
  table = capsys.readouterr().out
  assert "all" in table and "kept" in table


def test_lengths_are_checked_under_a_models_processor(pairs, trained, tmp_path):
  config = _config(pairs, start=str(trained / "world/model"))
  config.buckets.tokens, config.buckets.patches = (128,), (72,)
  assert _run(config, tmp_path / "a")["left_out"] == 0
  config.buckets.patches = (16,)
  config.data.max_bad = 24
  figures = _run(config, tmp_path / "b")
  assert figures["left_out"] > 0
  counts = json.loads((tmp_path / "b/import/figures.json").read_text())["sources"][str(pairs)]
  assert counts["length"] == figures["left_out"]


def test_a_data_set_that_does_not_fit_the_disk_is_refused_with_both_numbers(
  pairs, tmp_path, monkeypatch
):
  usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
  monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage)
  checks = importing.preflight(_config(pairs), epath.Path(tmp_path / "run"), "import")
  [fault] = checks.faults
  assert "kB on disk" in fault and "has 10 kB free" in fault


def test_the_preflight_finds_what_is_wrong_before_anything_is_written(pairs, tmp_path):
  found = lambda config: importing.preflight(config, epath.Path(tmp_path / "run"), "import")
  assert not found(_config(pairs)).faults and found(_config(pairs)).found["examples"] == "24"
  assert "videos is 'mp4'" in found(_config(pairs, videos="mp4")).faults[0]
  assert "config.import.source is empty" in found(_config("")).faults[0]
  assert not (tmp_path / "run").exists()


def test_a_source_that_is_not_named_or_twice_is_refused(pairs, tmp_path):
  with pytest.raises(ValueError, match="config.import.source is empty"):
    _run(_config(" , "), tmp_path / "run")
  with pytest.raises(ValueError, match="twice"):
    _run(_config(f"{pairs},{pairs}"), tmp_path / "run")
  with pytest.raises(FileNotFoundError):
    _run(_config(tmp_path / "none.jsonl"), tmp_path / "run")


def test_a_finished_import_is_not_done_again(pairs, tmp_path):
  config = _config(pairs)
  first = _run(config, tmp_path / "run")
  before = array_record.open(tmp_path / "run/import/data", "train").identity()
  pairs.unlink()
  assert _run(config, tmp_path / "run") == first
  assert array_record.open(tmp_path / "run/import/data", "train").identity() == before
