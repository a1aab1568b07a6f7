"""Settings of the process: the other processes of the run, memory, the log."""

import ctypes
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cot_rm import host

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
  "env, arguments",
  [
    ({}, None),
    ({"COORDINATOR_ADDRESS": "a:1"}, ("a:1", None, None)),
    ({"COORDINATOR_ADDRESS": "a:1", "NUM_PROCESSES": "4", "PROCESS_ID": "2"}, ("a:1", 4, 2)),
  ],
)
def test_the_environment_decides_whether_processes_are_joined(monkeypatch, env, arguments):
  found = []
  monkeypatch.setattr(host.jax.distributed, "initialize", lambda *args: found.append(args))
  for name in ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID"):
    monkeypatch.delenv(name, raising=False)
  for name, value in env.items():
    monkeypatch.setenv(name, value)
  host.connect()
  assert found == ([] if arguments is None else [arguments])


def page_faults_of_a_buffer_used_again(cwd, first):
  code = f"""
import resource, numpy as np
from cot_rm import host
{first}
touch = lambda: np.empty(64 << 20, np.uint8).fill(1)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
  done = subprocess.run(
    [sys.executable, "-c", code],
    cwd=cwd,
    capture_output=True,
    text=True,
    check=True,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
  )
  return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library")
def test_memory_once_freed_is_used_again_without_a_page_fault(tmp_path):
  pages = (64 << 20) // resource.getpagesize()
  assert page_faults_of_a_buffer_used_again(tmp_path, "assert host.keep_memory()") < pages / 100


def test_another_c_library_is_left_unchanged(monkeypatch):
  monkeypatch.setattr(host.ctypes, "CDLL", lambda name: object())
  assert host.keep_memory() is False


@pytest.mark.parametrize(
  "file, level, shown",
  [
    (host.__file__, logging.INFO, True),
    ("/lib/orbax/checkpoint.py", logging.INFO, False),
    ("/lib/orbax/checkpoint.py", logging.WARNING, True),
  ],
)
def test_of_libraries_only_warnings_are_logged(file, level, shown):
  entry = logging.LogRecord("absl", level, file, 1, "saved", (), None)
  assert host.worth_logging(entry) == shown


@pytest.mark.parametrize(
  "wanted, cores, load, devices",
  [(0, 2, 9, 0), (3, 2, 9, 3), (-2, 8, 1.0, 2), (-2, 2, 0.2, 2), (-2, 2, 1.5, 1), (-2, 1, 0.0, 1)],
)
def test_a_machine_that_does_other_work_gets_one_device(monkeypatch, wanted, cores, load, devices):
  monkeypatch.setattr(host, "usable_cores", lambda: float(cores))
  monkeypatch.setattr(host.os, "getloadavg", lambda: (load, load, load))
  found, why = host.cpu_devices(wanted)
  assert found == devices and why
  if wanted < 0 and devices == 1:
    assert "config.cpu_devices=2 asks for them" in why


def test_the_cores_are_those_that_the_process_may_use():
  assert 0 < host.usable_cores() <= os.cpu_count()
