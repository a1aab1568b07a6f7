"""A run that is killed at any moment goes on by the same command, and loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow

CONFIG = """
from configs import tiny_grpo
def get_config():
  c = tiny_grpo.get_config("smoke")
  c.stages = ("world", "sft", "reject", "rl")
  c.world.sizes = dict(references=64, train=256, check=8, heldout=16)
  c.sft.steps = 2
  c.reject.data, c.reject.max_prompts = "world/data", 8
  c.reject.sampling.max_tokens = 54
  c.rl.rollouts, c.rl.save_every = 12, 2
  c.rl.eval_every = c.rl.samples_every = 12
  return c
"""


def start(folder):
  (folder / "small.py").write_text(CONFIG)
  return subprocess.Popen(
    [sys.executable, "-m", "cot_rm.main", "--config", str(folder / "small.py"), "--workdir", "run"],
    cwd=folder,
    stdout=subprocess.DEVNULL,
    stderr=open(folder / "log", "a"),
    env={**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""},
    start_new_session=True,
  )


def kill_when(folder, ready, minutes=10):
  """Starts the run, and kills it -9 once `ready()` is true."""
  process, end = start(folder), time.monotonic() + 60 * minutes
  try:
    while not ready():
      assert process.poll() is None, (folder / "log").read_text()[-2000:]
      assert time.monotonic() < end, "it did not get there"
      time.sleep(0.05)
  finally:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def count_lines(path):
  return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_run_that_is_killed_in_reject_and_in_rl_continues(tmp_path):
  run = tmp_path / "run"
  samples = run / "reject" / "samples.jsonl"
  kill_when(tmp_path, lambda: count_lines(samples) > 0)
  before = samples.read_text()
  assert not (run / "reject" / "data").exists()

  curve = run / "rl" / "metrics.jsonl"
  kill_when(tmp_path, lambda: count_lines(curve) >= 5)
  assert samples.read_text().startswith(before[: before.rfind("\n")])  # nothing is sampled twice
  rows = [json.loads(line)["row"] for line in samples.read_text().splitlines()]
  assert rows == list(range(256))

  done = start(tmp_path)
  assert done.wait(timeout=900) == 0, (tmp_path / "log").read_text()[-2000:]
  assert (run / "rl" / "model").exists()
  log = (tmp_path / "log").read_text()
  assert "rl: continues from rollout" in log and "reject was done before" in log
