"""The bench of the scalar head: its figures, and its short form."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from cot_rm import schema
from cot_rm.benchmarks import intervals


def test_two_orders_of_a_pair_are_one_cluster_and_families_are_apart(bench):
  pairs = [
    schema.Example.images("a red star", "a", "b", id="1"),
    schema.Example.videos("a cat jumps", "a", "b", id="2"),
    schema.Example.images("a blue star", "a", "b", id="3"),
  ]
  credits = np.array([[1, 0], [0, 0], [1, 1]], float)
  found = bench.Answers(credits, seconds=0.5, encoding=0.2).figures(pairs)
  assert found["accuracy"] == 0.5 and found["n"] == 3
  assert found["interval"] == intervals.share([1, 0, 0, 0, 1, 1], [*"112233"])
  assert {task: one["accuracy"] for task, one in found["families"].items()} == {
    "image_generation": 0.75,
    "video_generation": 0.0,
  }
  assert found["seconds_per_judgement"] == 0.5


def test_the_time_of_a_run_is_that_of_its_stages(bench, tmp_path):
  for name, seconds in (("sft", 2.0), ("rl", 3.5)):
    (tmp_path / name).mkdir()
    (tmp_path / name / "done.json").write_text(json.dumps({"seconds": seconds}))
  assert bench.seconds_of(epath.Path(tmp_path), ("sft", "rl")) == 5.5
  with pytest.raises(ValueError, match=r"reject, sft2 not done there"):
    bench.seconds_of(epath.Path(tmp_path), bench.STAGES)


@pytest.mark.slow
def test_the_short_form_compares_both_models_on_the_same_pairs(bench):
  done = subprocess.run(
    [sys.executable, bench.__file__, "--quick"],
    capture_output=True,
    text=True,
    cwd=Path(bench.__file__).parents[1],
  )
  assert done.returncode == 0, done.stderr[-4000:]
  found = json.loads(done.stdout.splitlines()[-1])
  assert found["pairs"] == found["scalar"]["n"] == found["reasoning"]["n"] == 16
  assert found["scalar"]["steps"] >= 5
  # A mean over the first steps, of which a faster machine makes more; the first is exactly log 2.
  assert found["scalar"]["losses"][0] == pytest.approx(np.log(2), abs=0.05)
  assert found["scalar"]["losses"][-1] != found["scalar"]["losses"][0]
