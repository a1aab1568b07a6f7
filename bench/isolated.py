"""A bench's parts in processes of their own: each has fresh memory, and a peak of its own."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path


def call(script, *arguments, platforms="cpu"):
  """What the JSON of the last line that `script` prints says; jax sees these platforms, or all.

  Raises RuntimeError, with what it said, where it fails.
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


def peak():
  """Most bytes of memory that this process has had."""
  # Not getrusage: its peak is inherited from the process that started this one.
  status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
  return int(status["VmHWM"].split()[0]) * 1024


def parser(doc, quick):
  """Arguments of a bench whose parts run alone: --quick, and which part it is, in which folder."""
  out = argparse.ArgumentParser(
    description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  out.add_argument("--quick", action="store_true", help=quick)
  out.add_argument("--one", help=argparse.SUPPRESS)
  out.add_argument("--folder", help=argparse.SUPPRESS)
  return out
