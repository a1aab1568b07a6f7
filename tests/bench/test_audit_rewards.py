"""bench/audit_rewards.py: no configured mix pays a hack, and known faults are found."""

import json
import math
import sys

import pytest

PAPER = (("accuracy", 1.0), ("consistency", 0.5), ("format", 0.5))
RELEASED = (("accuracy", 1.0), ("consistency_released", 0.5), ("format", 0.5))


def test_no_hack_earns_more_than_an_honest_judgement_under_any_configured_mix(
  bench, capsys, monkeypatch
):
  monkeypatch.setattr(sys, "argv", ["audit_rewards.py"])
  with pytest.raises(SystemExit) as ended:
    bench.main()
  out = capsys.readouterr().out
  assert ended.value.code == 0
  figures = json.loads(out.splitlines()[-1])
  assert figures["breaches"] == 0 and figures["mixes"] == 6 and figures["hacks"] > 30
  assert figures["known"] == out.count("KNOWN ") > 0
  assert "grammar brief" in out and "tiny_grpo:full" in out


def test_every_preset_that_runs_rl_is_audited(bench):
  mixes = bench.configured_mixes()
  names = {name for some in mixes.values() for name in some}
  assert {
    "base",
    "rl:dapo",
    "tiny_grpo:smoke",
    "r1_reward:paper",
    "unified_reward:released",
  } <= names
  assert "port" not in names and "eval:pairs" not in names
  assert "consistency_ablation:full" in mixes[("accuracy", 1.0), ("format", 0.5)]  # one arm of it
  assert "consistency_ablation:full" in mixes[PAPER]  # and the other


def test_the_published_accuracy_rule_pays_hacks(bench):
  (mix,) = (mix for mix in bench.configured_mixes() if ("accuracy_published", 1.0) in mix)
  _, breaches = bench.audit([mix], quick=True)
  found = "\n".join(breaches[mix])
  for hack in ("an <answer> for each", "a candidate's own <answer>", "endless text after it"):
    assert f"{hack!r} earns 2 without a verdict, an honest wrong judgement 1" in found, hack


def test_a_contradictory_judgement_is_paid_as_in_the_paper(bench):
  tables, _ = bench.audit([PAPER, RELEASED], quick=True)
  for mix, right in ((PAPER, 1.5), (RELEASED, 1.0)):
    rows = tables["think"][mix]
    assert rows["honest"] == ("honest", 0.5, 2.0)
    assert rows["scores for the other"] == ("contradictory", 0.5, right)
    assert rows["nothing at all"] == ("no verdict", 0.0, 0.0)


@pytest.mark.parametrize(
  ("row", "said"),
  [
    (("no verdict", 1.0, 1.0), None),
    (("no verdict", 1.0, 1.5), "1.5 without a verdict"),
    (("no verdict", math.nan, math.nan), None),
    (("unfounded", 0.5, 2.0), None),
    (("unfounded", 1.5, 2.0), "1.5 for a wrong verdict"),
    (("unfounded", 1.0, 2.5), "2.5 for a correct verdict"),
    (("contradictory", 1.0, 2.0), "2 for a correct verdict"),
    (("contradictory", 1.0, 1.5), None),
  ],
)
def test_each_excess_over_a_limit_is_named(bench, row, said):
  rows = {"honest": ("honest", 1.0, 2.0), "hack": row}
  found = bench.breach("hack", rows, {"chain": 0.5})
  assert found is None if said is None else said in found


def test_a_mix_without_a_reward_for_reasoning_cannot_detect_contradictions(bench):
  rows = {"honest": ("honest", 1.0, 2.0), "hack": ("contradictory", 1.0, 2.0)}
  assert bench.breach("hack", rows, {"accuracy": 1.0}) is None


@pytest.mark.parametrize(
  "names, found, broken, known",
  [
    (["tiny_grpo:full"], ["hack"], 1, 0),
    (["unified_reward:released"], ["hack"], 0, 1),
    (
      ["tiny_grpo:full", "unified_reward:released"],
      ["hack"],
      1,
      0,
    ),  # one of the configs is not known
    (["unified_reward:released"], [], 1, 0),  # KNOWN lists a fault that is gone
  ],
)
def test_a_breach_is_excused_only_if_all_its_configs_are_known(bench, names, found, broken, known):
  out = bench.split_known({PAPER: names}, {PAPER: found})
  assert [len(lines) for lines in out] == [broken, known]
