"""Runs Python in a process of its own, as the program is run."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(cwd, *flags, code="from cot_rm import main; main.start()"):
  """The finished process of `code` with the flags, in a folder; what it said is text."""
  return subprocess.run(
    [sys.executable, "-c", code, *flags],
    cwd=cwd,
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
  )
