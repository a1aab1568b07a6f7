"""A begun workdir goes on with knobs that change nothing there, and names the folders otherwise."""

import copy
import json

import pytest
from etils import epath

from configs import base
from cot_rm import begun, optim, workdir

MAIN = ["main"]


def config(stages="world,sft,rl,eval", **knobs):
  c = base.get_config()
  c.stages = tuple(stages.split(","))
  c.sft.update(start="world", data="world/data", steps=1000)
  c.sft.optim.decay = 0.0
  c.rl.update(start="sft", data="world/data")
  for knob, value in knobs.items():
    *path, last = knob.split("__")
    section = c
    for name in path:
      section = section[name]
    section[last] = value
  return json.loads(c.to_json())


@pytest.fixture
def folder(tmp_path):
  """A workdir whose stages world and sft are done, and whose rl has a checkpoint."""
  out = epath.Path(tmp_path / "run")
  workdir.record(out, config(), MAIN)
  for made in ("world/data/x", "sft/model/x", "sft/checkpoints/1000/x", "rl/checkpoints/50/x"):
    (out / made).parent.mkdir(parents=True)
    (out / made).write_text("x")
  for name in ("world", "sft"):
    (out / name / "done.json").write_text("{}")
  return out


def go_on(folder, **knobs):
  workdir.record(folder, config(**knobs), MAIN, optim.same_rates)
  return json.loads((folder / "config.json").read_text())["config"]


def remove(folder, *names):
  for name in names:
    (folder / name).rmtree()


def test_an_import_takes_other_knobs_until_its_data_set_is_there(tmp_path):
  out = epath.Path(tmp_path / "run")
  stages = "import,sft"
  workdir.record(out, config(stages), MAIN)
  (out / "import/.data.unfinished").mkdir(parents=True)
  (out / "import/seen.bin").write_text("x")
  workdir.record(out, config(stages, importing__val=4, seed=1), MAIN)
  (out / "import/data").mkdir()
  workdir.record(out, config(stages, importing__val=4, importing__shard_mb=9, seed=1), MAIN)
  for knobs in (dict(importing__val=5), dict(seed=2)):
    with pytest.raises(ValueError, match="import"):
      workdir.record(out, config(stages, **(dict(importing__val=4, seed=1) | knobs)), MAIN)


@pytest.mark.parametrize(
  "knobs",
  [
    dict(sampler__kv_memory=1 << 30, sampler__decode_chunk=8, model__remat=True),
    dict(sft__eval_every=5, rl__save_every=7, sft__accumulate=2, rl__max_prompts=2),
    dict(buckets__tokens=(256, 4096), buckets__answers=(64,), cpu_devices=2),
    dict(eval__votes=15, eval__pairs=3, eval__max_tokens=9, eval__benchmark="vl_rewardbench"),
    dict(mesh__shape=dict(data=2, fsdp=1, tensor=1), data__max_bad=5),
    dict(rl__rollouts=900),
    dict(rl__settings__rloo__kl=0.5),  # another algorithm's
    dict(reject__count=4, judge__votes=3, distill__model="x"),  # stages that have not begun
    dict(stages="world,sft,rl,rl2:rl,eval"),
  ],
)
def test_a_begun_workdir_goes_on_with_knobs_that_change_no_output(folder, knobs):
  go_on(folder, **knobs)
  assert (folder / "sft" / "done.json").exists()


@pytest.mark.parametrize(
  "knobs, knob, named",
  [
    (dict(rl__optim__lr=1.0), "config.rl.optim.lr: 1e-06 -> 1.0", ["rl"]),
    (dict(sft__rows=3), "config.sft.rows: 8 -> 3", ["sft", "rl"]),
    (dict(sft__data="other"), 'config.sft.data: "world/data" -> "other"', ["sft", "rl"]),
    (dict(world__preset="3b"), 'config.world.preset: "tiny" -> "3b"', ["world", "sft", "rl"]),
    (dict(seed=3), "config.seed: 0 -> 3", ["world", "sft", "rl"]),
    (dict(buckets__tokens=(8192,)), "config.buckets.tokens: [512", ["sft", "rl"]),
  ],
)
def test_a_knob_that_changes_what_is_there_is_refused_with_the_folders_to_remove(
  folder, knobs, knob, named
):
  with pytest.raises(ValueError, match="was begun with another config") as caught:
    go_on(folder, **knobs)
  (line,) = [line for line in str(caught.value).splitlines() if line.startswith("  config.")]
  assert knob in line and line.endswith(f"; remove {' '.join(str(folder / n) for n in named)}")
  remove(folder, *named)
  go_on(folder, **knobs)


def test_shapes_that_are_no_numbers_are_left_to_the_check_of_the_stage(folder):
  with pytest.raises(ValueError, match="config.buckets.tokens: .* would change what is in sft"):
    workdir.record(folder, config(buckets__tokens=(128, "a")), MAIN)


def test_a_stage_that_was_made_from_a_removed_one_is_named_too(folder):
  remove(folder, "sft")
  with pytest.raises(ValueError, match=r"rl \(made from sft\); remove \S+/rl$"):
    try:
      go_on(folder, sft__rows=3)
    except ValueError as error:
      raise ValueError(str(error).splitlines()[1]) from error


def test_a_stage_that_only_failed_has_not_begun(tmp_path):
  folder = epath.Path(tmp_path)
  workdir.record(folder, config(), MAIN)
  (folder / "sft").mkdir()
  (folder / "sft" / "metrics.jsonl").write_text("")
  go_on(folder, sft__rows=3, seed=5)


def test_a_stage_that_keeps_its_answers_by_what_was_asked_takes_all_other_knobs(folder):
  stages = "world,sft,rl,judge"
  go_on(folder, stages=stages)
  (folder / "judge").mkdir()
  for name in ("done.json", "verdicts.jsonl"):  # the first by an older version
    (folder / "judge" / name).write_text("{}")
  go_on(folder, stages=stages, judge__votes=3, judge__input="other.jsonl")


@pytest.mark.parametrize("stage", ["distill", "reject"])
def test_answers_that_were_paid_for_are_not_to_be_removed(folder, stage):
  knobs = dict(stages=f"world,sft,{stage}")
  go_on(folder, **knobs)
  (folder / stage / "data").mkdir(parents=True)
  (folder / stage / "calls.sqlite").write_text("x")
  remove(folder, "rl")
  with pytest.raises(ValueError, match=rf"remove \S+/{stage}/data\n"):
    go_on(folder, **knobs, **{f"{stage}__count": 7})
  remove(folder, f"{stage}/data")
  go_on(folder, **knobs, **{f"{stage}__count": 7})
  assert (folder / stage / "calls.sqlite").exists()


def test_a_stage_that_is_done_goes_on_when_it_gets_more_steps(folder):
  remove(folder, "rl")
  assert go_on(folder, sft__steps=1500)["sft"]["steps"] == 1500
  assert not (folder / "sft" / "done.json").exists()
  assert (folder / "sft" / "done.1000.json").exists()


def test_a_stage_that_is_extended_names_the_stages_that_were_made_from_it(folder):
  with pytest.raises(
    ValueError, match=r"steps: 1000 -> 1500 .* rl \(made from sft\); remove .*/rl"
  ):
    go_on(folder, sft__steps=1500)
  assert (folder / "sft" / "done.json").exists()


@pytest.mark.parametrize(
  "decay, final, fails", [(0.5, 0.0, True), (0.5, 1.0, False), (0.0, 0.0, False)]
)
def test_a_decay_that_has_begun_cannot_be_extended(folder, decay, final, fails):
  remove(folder, "rl", "sft")
  knobs = dict(sft__optim__decay=decay, sft__optim__final=final)
  go_on(folder, **knobs)
  (folder / "sft" / "checkpoints" / "1000").mkdir(parents=True)
  if not fails:
    go_on(folder, **knobs, sft__steps=2000)
    return
  with pytest.raises(ValueError, match="1000 steps in .* falls towards the end of 1000 .*decay is"):
    go_on(folder, **knobs, sft__steps=2000)
  (folder / "sft" / "checkpoints" / "1000").rename(folder / "sft" / "checkpoints" / "500")
  go_on(folder, **knobs, sft__steps=2000)  # it falls only after 500 steps


def test_fewer_steps_than_are_done_are_refused_and_so_are_steps_without_a_checkpoint(folder):
  remove(folder, "rl")
  with pytest.raises(ValueError, match="1000 -> 900: .*sft has 1000 steps behind it; remove .*sft"):
    go_on(folder, sft__steps=900)
  remove(folder, "sft/checkpoints")
  with pytest.raises(ValueError, match="no checkpoint from which it could go on"):
    go_on(folder, sft__steps=2000)


def test_the_steps_of_rl_count_its_updates(folder):
  knobs = dict(rl__minibatches=2, rl__epochs=3, rl__optim__decay=0.5)
  remove(folder, "rl")
  go_on(folder, **knobs, rl__rollouts=100)
  (folder / "rl" / "checkpoints" / "50").mkdir(parents=True)
  go_on(folder, **knobs, rl__rollouts=400)
  (folder / "rl" / "checkpoints" / "201").mkdir(parents=True)
  with pytest.raises(ValueError, match="201 rollouts"):
    go_on(folder, **knobs, rl__rollouts=800)


def test_a_plan_has_the_folders_of_both_configs_under_their_names_of_today():
  old, new = {"stages": ["again:sft", "rl"]}, {"stages": ["sft2:sft", "eval"]}
  plan = begun.plan_of(old, new, workdir.entries, {"again": "sft2"})
  assert plan == {"sft2": "sft", "rl": "rl", "eval": "eval"}


def test_nothing_is_written_when_a_change_is_refused(folder):
  before = copy.copy((folder / "config.json").read_text())
  with pytest.raises(ValueError):
    go_on(folder, seed=1)
  assert (folder / "config.json").read_text() == before


def test_a_stage_knows_by_content_what_it_was_made_from(folder, tmp_path):
  own = tmp_path / "own.jsonl"
  own.write_text("1")
  settings = config(rl__data=str(own), rl__start="sft")
  model = folder / "sft" / "model"
  (model / "cot_rm.json").write_text("[1]")
  made = begun.inputs(folder, settings, "rl", "rl")
  assert made.keys() == {"start", "data"}
  others = lambda settings: begun.other_inputs(made, folder, settings, "rl", "rl")
  assert others(settings) == []
  own.rename(tmp_path / "moved.jsonl")
  assert others(config(rl__data=str(tmp_path / "moved.jsonl"), rl__start="sft")) == []
  own.write_text("22")
  (model / "cot_rm.json").write_text("[22]")
  assert others(settings) == ["start", "data"]
  own.unlink()
  assert others(settings) == ["start"]  # nothing can be said about what is not there
  assert others(config(rl__data="hub/id", rl__start=str(model))) == ["start"]


def test_a_folder_is_known_by_its_files(folder):
  settings = config(rl__data="world/data")
  before = begun.inputs(folder, settings, "rl", "rl")["data"]
  (folder / "world" / "data" / "y").write_text("y")
  assert begun.inputs(folder, settings, "rl", "rl")["data"] != before


def test_a_data_set_that_is_written_again_with_the_same_examples_is_the_same(folder):
  made = config()
  data = folder / "world" / "data"
  (data / "identity.json").write_text('{"train": "12"}')
  was = begun.inputs(folder, made, "sft", "sft")
  (data / "x").write_text("the same records, stored otherwise")
  assert begun.inputs(folder, made, "sft", "sft") == was
  (data / "identity.json").write_text('{"train": "34"}')
  assert begun.other_inputs(was, folder, made, "sft", "sft") == ["data"]


def test_what_was_asked_is_not_among_what_is_to_be_removed(folder):
  sampled = folder / "reject"
  sampled.mkdir()
  for name in ("done.json", "samples.jsonl"):
    (sampled / name).write_text("{}")
  assert begun.to_remove(sampled, "reject") == [str(sampled / "done.json")]
  assert begun.to_remove(folder / "sft", "sft") == [str(folder / "sft")]
