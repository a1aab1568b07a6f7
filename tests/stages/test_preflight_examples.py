"""The rules by which a stage cannot use an example."""

import pytest

from configs import base
from cot_rm.data import packing
from cot_rm.stages import preflight, preflight_data, preflight_examples

BUCKETS = packing.Buckets(tokens=(10, 20), patches=(4,), answers=())


def row(**changes):
  plain = preflight_data.Row("s", "a", "image_generation", 1, -1, 0, 0, "", 10, 4, 0, "", "", "")
  return plain._replace(**changes)


def test_a_prompt_fits_with_its_reference_or_not():
  assert preflight_examples.fits(BUCKETS)(row(tokens=20, reference=1)) is None
  with_reference = preflight_examples.fits(BUCKETS, with_reference=True)
  assert with_reference(row(tokens=19, reference=1)) is None
  assert "21 tokens" in with_reference(row(tokens=20, reference=1))
  assert "5 patches" in with_reference(row(patches=5))


def test_gold_and_reference_are_needed_where_a_stage_asks_for_them():
  assert preflight_examples.needs_gold(row()) is None
  assert "no gold" in preflight_examples.needs_gold(row(gold=0))
  assert preflight_examples.needs_gold_or_tie(row(gold=0, tie=True)) is None
  assert "no gold" in preflight_examples.needs_gold_or_tie(row(gold=0))
  assert preflight_examples.needs_reference(row(reference=3)) is None
  assert "no reasoning" in preflight_examples.needs_reference(row())


def test_what_cannot_be_stored_is_no_use_to_a_stage_that_stores():
  assert preflight_examples.storable(row()) is None
  assert preflight_examples.storable(row(unstorable="no JSON")) == "no JSON"


@pytest.mark.parametrize(
  "changes, words",
  [
    (dict(), None),
    (dict(reference=5, verdict=1), None),
    (dict(reference=5, verdict=2), "prefers 2, and gold is 1"),
    (dict(reference=5, verdict=2, gold=0), None),
    (dict(reference=5, why="no tag"), "no reference of the grammar 'think': no tag"),
  ],
)
def test_a_reference_contradicts_by_its_grammar_or_its_verdict(changes, words):
  found = preflight_examples.contradiction(row(**changes), "think")
  assert found is None if words is None else words in found


def test_rl_takes_by_task_and_by_attempts():
  takes = preflight_examples.for_rl("config.rl", ["image_generation"], 2, "shuffled")
  assert takes(row(attempts=2)) is None
  assert "min_attempts is 2" in takes(row(attempts=1))
  assert "config.rl.tasks" in takes(row(task="video_generation", attempts=3))
  with pytest.raises(ValueError, match="has no attempts"):
    takes(row())
  assert preflight_examples.for_rl("config.rl", [], 0, "shuffled")(row()) is None


def test_prompts_of_two_readings_are_counted_and_the_knob_is_named(monkeypatch):
  rows = [row(id="p-1"), row(id="p-2", ambiguous=True)]
  monkeypatch.setattr(preflight_data, "measure", lambda *_, **__: rows)
  checks = preflight.Checks("eval")
  config = base.get_config()
  usable = preflight_examples.check(checks, config, None, rows, name="pairs", folder=None)
  assert usable == rows and not checks.faults
  said = checks.found["pairs: prompts of two readings"]
  assert said.startswith("1 (p-2): ") and said.endswith("config.grammar=think:escaped marks it")
