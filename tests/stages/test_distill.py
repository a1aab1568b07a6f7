"""Distillation: what it writes, what it costs to be interrupted, and how it ends when it must."""

import collections
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from etils import epath

from configs import base
from configs import distill as presets
from cot_rm import chat, prompts
from cot_rm.data import array_record, datasets, selection
from cot_rm.stages import distill
from cot_rm.toy_world import teacher as toy_teacher
from cot_rm.toy_world import world
from tests import endpoints

ROOT = Path(__file__).resolve().parents[2]
PAIRS = 40
TEACHER = toy_teacher.Teacher(error=0.4, unparsable=0.1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp("world") / "data"
  array_record.write(folder, {"train": world.examples(world.World(), "train", count=PAIRS)})
  return folder


@pytest.fixture
def config(data):
  c = base.get_config()
  c.grammar = "brief"
  c.distill.data, c.distill.count = str(data), 0
  c.distill.teacher = dict(error=0.4, unparsable=0.1)
  return c


def service(config, answer, **endpoint):
  """A service with the built-in teacher's answers, where `answer` has none of its own."""
  started = endpoints.serve(
    lambda n, body: answer(n, body) or toy_teacher.completion(body, TEACHER)
  )
  config.distill.model = "m"
  config.distill.endpoint.update(dict(concurrency=2, retries=0, timeout=30.0) | endpoint)
  return started


def read(folder, split):
  return {e.id: e for e in datasets.open(folder / "data", split)}


def run(config, workdir):
  return distill.run(config, epath.Path(workdir), "distill")


def test_correct_judgements_are_kept_with_the_difficulty_of_each_pair(
  config, data, tmp_path, capsys
):
  figures = run(config, tmp_path)
  kept, failed = (read(tmp_path / "distill", split) for split in ("kept", "failed"))
  every = {e.id: e for e in selection.first(datasets.open(data, "train"), PAIRS)}
  assert kept.keys() | failed.keys() == every.keys() and not kept.keys() & failed.keys()
  grammar = prompts.get("brief")
  for e in kept.values():
    assert grammar.parse(e.reasoning, e.task).answer == e.gold
    assert e.attempts == len(e.extra["teacher"]["verdicts"]) == e.extra["teacher"]["attempt"]
  for e in failed.values():
    assert e.reasoning is None and e.attempts == 4 and e.extra["teacher"]["attempt"] is None
    assert len(e.extra["teacher"]["verdicts"]) == 3
    assert e.gold not in e.extra["teacher"]["verdicts"]
  taught = [*kept.values(), *failed.values()]
  golds = collections.Counter(e.gold for e in taught)
  assert golds == {1: PAIRS / 2, 2: PAIRS / 2}
  for e in taught:
    before = every[e.id]
    swapped = e.extra["teacher"]["swapped"]
    assert swapped == e.extra.get("swapped", False) == (e.gold != before.gold)
    assert e.responses == (before.responses[::-1] if swapped else before.responses)
    assert e.extra["teacher"]["model"] == TEACHER.name

  assert figures["kept"] == len(kept) and figures["failed"] == len(failed) > 0
  took = collections.Counter(e.attempts for e in kept.values())
  assert len(took) == 3 and figures["agreement@1"] == took[1] / PAIRS
  assert figures["calls"] == sum(min(e.attempts, 3) for e in taught)
  assert figures["unparsable"] > 0 and figures["calls_cached"] == 0 == figures["dollars"]
  written = json.loads((tmp_path / "distill" / "figures.json").read_text())
  by_source = written.pop("by_source")
  assert written == figures
  assert by_source["all"] | {"pairs": 0} == {
    "pairs": 0,
    "agreement@1": figures["agreement@1"],
    **{str(k): took[k] for k in (1, 2, 3)},
    "failed": len(failed),
  }
  printed = capsys.readouterr().out.splitlines()
  (row,) = (line.split() for line in printed if " all " in line)
  assert [cell for cell in row if cell.isdigit()] == [
    str(count) for count in (PAIRS, took[1], took[2], took[3], len(failed))
  ]


def test_a_finished_run_replays_from_its_cache_without_a_teacher(config, tmp_path):
  with service(config, lambda *_: None) as teacher:
    config.distill.endpoint.base_url = teacher.base_url
    first = run(config, tmp_path / "one")
  config.distill.cache = str(tmp_path / "one" / "distill" / "calls.sqlite")
  again = run(config, tmp_path / "two")  # nobody is at that address any more
  assert again == first | {"calls_cached": first["calls"]}
  for split in ("kept", "failed"):
    one, two = (read(tmp_path / name / "distill", split) for name in ("one", "two"))
    assert one == two
  assert run(config, tmp_path / "two") == again  # and done is done


@pytest.mark.slow
def test_a_run_that_is_killed_continues_and_makes_no_call_twice(config, tmp_path):
  config.distill.endpoint.concurrency = 1
  at = 17
  with service(config, lambda n, _: "stall" if n == at else None, concurrency=1) as teacher:
    config.distill.endpoint.base_url = teacher.base_url
    (tmp_path / "config.json").write_text(config.to_json())
    code = (
      "import json, sys\nfrom etils import epath\nfrom ml_collections import ConfigDict\n"
      "from cot_rm.stages import distill\n"
      "config = ConfigDict(json.load(open(sys.argv[1])))\n"
      "distill.run(config, epath.Path(sys.argv[2]), 'distill')\n"
    )
    arguments = [sys.executable, "-c", code, tmp_path / "config.json", tmp_path / "killed"]
    with subprocess.Popen(arguments, cwd=ROOT, env=dict(os.environ)) as process:
      endpoints.wait(lambda: len(teacher.asked) == at + 1, seconds=120)
      process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "distill" / "data").exists()

    teacher.answer = lambda _, body: toy_teacher.completion(body, TEACHER)
    figures = run(config, tmp_path / "killed")
    calls = collections.Counter(json.dumps(body, sort_keys=True) for body in teacher.asked)
    unanswered = json.dumps(teacher.asked[at], sort_keys=True)
    assert calls.pop(unanswered) == 2 and set(calls.values()) == {1}
    assert figures["calls_cached"] == at and figures["calls"] == len(calls) + 1

    whole = run(config, tmp_path / "whole")
  assert figures == whole | {"calls_cached": at}
  for split in ("kept", "failed"):
    assert read(tmp_path / "killed" / "distill", split) == read(
      tmp_path / "whole" / "distill", split
    )


def test_unified_reward_has_one_attempt_at_pairs_of_generated_images_only(config, tmp_path):
  preset = presets.get_config("unified_reward")
  assert preset.grammar == "think"
  config.grammar = "think"
  config.distill.attempts = preset.distill.attempts
  config.distill.tasks = preset.distill.tasks
  figures = run(config, tmp_path)
  taught = [*read(tmp_path / "distill", "kept").values()]
  taught += read(tmp_path / "distill", "failed").values()
  assert {e.task for e in taught} == {"image_generation"}
  assert {e.attempts for e in taught} == {1, 2}
  assert figures["calls"] == figures["pairs"] == len(taught) < PAIRS


def test_a_folder_uses_the_section_of_its_name(config, tmp_path):
  config.pool = config.distill.copy_and_resolve_references()
  config.pool.count = 5
  assert distill.run(config, epath.Path(tmp_path), "pool")["pairs"] == 5
  config.distill.count = 6
  assert distill.run(config, epath.Path(tmp_path), "other")["pairs"] == 6


def test_the_budget_stops_the_stage_and_a_larger_one_continues_it(config, tmp_path):
  config.distill.budget.calls = 20
  with pytest.raises(chat.BudgetExhausted, match="20 calls.*config.distill.budget.calls is 20"):
    run(config, tmp_path)
  assert not (tmp_path / "distill" / "data").exists()
  config.distill.budget.calls = 1000
  assert run(config, tmp_path)["calls_cached"] == 20


def test_a_wrong_key_stops_the_stage_and_the_same_command_continues_it(config, tmp_path):
  denied = lambda n, _: endpoints.failure(401, "Incorrect API key") if n >= 10 else None
  with service(config, denied, concurrency=1) as teacher:
    config.distill.endpoint.base_url = teacher.base_url
    with pytest.raises(chat.Stopped, match="does not accept the key"):
      run(config, tmp_path)
    teacher.answer = lambda _, body: toy_teacher.completion(body, TEACHER)
    assert run(config, tmp_path)["calls_cached"] == 10


def test_an_address_without_a_server_is_an_error_that_names_its_knob(config, tmp_path):
  config.distill.model = "m"
  config.distill.endpoint.base_url = "http://127.0.0.1:9/v1"
  config.distill.endpoint.retries = 0
  with pytest.raises(
    chat.Stopped, match="(?s)no server answers at .*config.distill.endpoint.base_url"
  ):
    run(config, tmp_path)


def test_a_teacher_that_refuses_every_pair_is_an_error_after_the_first_pairs(config, tmp_path):
  refuse = lambda *_: endpoints.completion(None, refusal="I cannot judge pictures")
  with service(config, refuse) as teacher:
    config.distill.endpoint.base_url = teacher.base_url
    with pytest.raises(RuntimeError, match=r"of 32 pairs \(refused 32\).*I cannot judge pictures"):
      run(config, tmp_path)
    assert len(teacher.asked) == distill.PROBE < PAIRS
    with pytest.raises(RuntimeError, match="refused 32"):
      run(config, tmp_path)  # without asking again
    assert len(teacher.asked) == distill.PROBE


def test_a_failed_call_is_not_a_verdict(config, tmp_path):
  first = {}

  def flaky(_, body):  # one pair never gets an answer
    key = json.dumps(body["messages"])
    first.setdefault("key", key)
    return endpoints.failure(500) if first["key"] == key else None

  with service(config, flaky, concurrency=1) as teacher:
    config.distill.endpoint.base_url = teacher.base_url
    message = r"(?s)1 of 40 pairs have no answer \(server 1\).*config.distill.unanswered"
    with pytest.raises(RuntimeError, match=message):
      run(config, tmp_path)
    asked = len(teacher.asked)
    config.distill.unanswered = 1
    figures = run(config, tmp_path)
    assert len(teacher.asked) == asked + 1  # the one that failed
  assert figures["unanswered"] == 1 and figures["kept"] + figures["failed"] == PAIRS - 1


def test_images_of_another_world_need_another_teacher(config, tmp_path):
  blank = [world.blank(e) for e in world.examples(world.World(), "train", count=3)]
  array_record.write(tmp_path / "blank", {"train": blank})
  config.distill.data = str(tmp_path / "blank")
  with pytest.raises(RuntimeError, match="the built-in world alone; name a service"):
    run(config, tmp_path)


@pytest.mark.parametrize("preset", ["r1_reward", "r1_reward_v2", "unified_reward"])
def test_the_sections_of_the_presets_fit_their_functions(preset):
  c = presets.get_config(preset).distill
  assert chat.Endpoint(**c.endpoint).base_url == "https://api.openai.com/v1"
  assert chat.Budget(**c.budget).dollars > 0 and chat.Pictures(**c.pictures).quality == 95
  how = chat.Sampling(**c.sampling)
  assert how.seed is None and how.max_tokens == 4096
  assert how.temperature == (1.0 if preset == "r1_reward" else 0.0)
  assert c.attempts == (1 if preset == "unified_reward" else 3)


def test_an_unknown_preset_names_the_known_ones():
  with pytest.raises(ValueError, match="distill.py has no preset 'r2'. Known: r1_reward"):
    presets.get_config("r2")
