"""Runs the parts of a bench in separate processes, each with fresh memory and a peak of its own."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def call(script: str, *arguments: str, platforms: str | None = "cpu") -> dict[str, Any]:
  """Runs a script and returns the JSON of the last line that it prints.

  Args:
    script: path.
    arguments: of the command line.
    platforms: JAX_PLATFORMS of the process; None: as in this one.

  Raises RuntimeError with the end of its stderr if the script fails.
  """
  done = subprocess.run(
    [sys.executable, script, *arguments],
    capture_output=True,
    text=True,
    env=os.environ | ({"JAX_PLATFORMS": platforms} if platforms else {}),
  )
  if done.returncode:
    raise RuntimeError(f"{script} {' '.join(arguments)} failed:\n{done.stderr[-4000:]}")
  return json.loads(done.stdout.splitlines()[-1])


def peak() -> int:
  """Peak resident memory of this process in bytes."""
  # Not getrusage: its peak is inherited from the process that started this one.
  status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
  return int(status["VmHWM"].split()[0]) * 1024


def parser(doc: str, quick: str) -> argparse.ArgumentParser:
  """Arguments of a bench: --quick, and for its parts --one (which) and --folder (of their files).

  Args:
    doc: docstring of the bench.
    quick: help text of --quick.
  """
  out = argparse.ArgumentParser(
    description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  out.add_argument("--quick", action="store_true", help=quick)
  out.add_argument("--one", help=argparse.SUPPRESS)
  out.add_argument("--folder", help=argparse.SUPPRESS)
  return out
