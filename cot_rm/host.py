"""Settings of a process before its first computation: log, memory, the other processes of a run."""

import ctypes
import importlib.util
import logging
import os
import pathlib

import jax

TPU_CHIPS = ("/dev/accel0", "/dev/vfio/0")
NVIDIA_CHIP = "/dev/nvidia0"


def prepare() -> None:
  """Keeps freed memory on a host without an accelerator, and joins the processes of the run."""
  if not any(os.path.exists(path) for path in (*TPU_CHIPS, NVIDIA_CHIP)):
    keep_memory()
  connect()


def connect() -> None:
  """Joins the other processes of the run, where the environment names a coordinator.

  On any cluster: COORDINATOR_ADDRESS, and NUM_PROCESSES and PROCESS_ID where jax cannot find them.
  On a TPU host jax knows all three.
  """
  env = os.environ
  number = lambda name: int(env[name]) if name in env else None
  if "COORDINATOR_ADDRESS" in env:
    jax.distributed.initialize(
      env["COORDINATOR_ADDRESS"], number("NUM_PROCESSES"), number("PROCESS_ID")
    )
  elif _is_tpu_host():
    jax.distributed.initialize()


def _is_tpu_host():
  if jax.config.jax_platforms and "tpu" not in jax.config.jax_platforms:
    return False
  chips = any(os.path.exists(path) for path in TPU_CHIPS)
  return chips and importlib.util.find_spec("libtpu") is not None


def keep_memory() -> bool:
  """Makes glibc keep freed memory for the next step; False where the C library has no mallopt.

  XLA's CPU programs allocate new buffers at each call, and by default glibc returns large
  ones to the system, which then zeroes each page again: a third of a small model's step. Threads
  must not share one arena either: Python's many small allocations in it slow down XLA's, and each
  thread waits for the others. To be called before jax starts its threads.
  """
  if not hasattr(libc := ctypes.CDLL(None), "mallopt"):
    return False
  arena_max, mmap_max, top_pad, trim_threshold = -8, -4, -2, -1  # numbers of malloc.h
  return all(
    (
      libc.mallopt(arena_max, os.cpu_count() + 1),
      libc.mallopt(mmap_max, 0),
      libc.mallopt(trim_threshold, -1),
      # A heap of an arena is 64 MiB; with a padding of twice that, an empty heap is kept.
      libc.mallopt(top_pad, 128 << 20),
    )
  )


def cpu_devices(wanted: int) -> tuple[int, str]:
  """(number of devices that jax makes of the CPU, the reason in words).

  Devices of one CPU wait for each other in every step: with fewer free cores than devices they are
  many times slower than one device.

  Args:
    wanted: this number; a negative one: at most that many, one if as many cores are not free.
  """
  if wanted >= 0:
    return wanted, "as config.cpu_devices says"
  cores, load = usable_cores(), os.getloadavg()[0]
  free = cores - load
  said = f"{cores:g} cores, a load of {load:.1f}"
  if free > -wanted - 0.5:
    return -wanted, said
  return 1, f"{said}: {-wanted} cores are not free (config.cpu_devices={-wanted} asks for them)"


def usable_cores() -> float:
  """Cores that this process may use: by its affinity, and by the quota of its container."""
  affinity = getattr(os, "sched_getaffinity", None)  # not on every system
  cores = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
  quota = pathlib.Path("/sys/fs/cgroup/cpu.max")
  if quota.exists():
    limit, period = quota.read_text().split()
    if limit != "max":
      cores = min(cores, int(limit) / int(period))
  return cores


def memory() -> int:
  """Bytes of memory that this process may use: the machine's, or the limit of its container."""
  total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  limit = pathlib.Path("/sys/fs/cgroup/memory.max")
  text = limit.read_text().strip() if limit.exists() else "max"
  return total if text == "max" else min(total, int(text))


def worth_logging(entry: logging.LogRecord) -> bool:
  """A filter for the log: all entries of this package, and only warnings of libraries.

  Libraries log every file that they save.
  """
  ours = pathlib.PurePath(entry.pathname).is_relative_to(pathlib.PurePath(__file__).parent)
  return ours or entry.levelno > logging.INFO
