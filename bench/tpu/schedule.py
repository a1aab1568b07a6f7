"""A kernel's schedule in cycles, by the real TPU compiler, on a machine without a TPU.

  python bench/tpu/schedule.py bench/kernels.py:flash --chip v5e

The function that is named gives (f, arguments as shapes, {kernel's name: Work}). The compiler
issues one bundle of instructions a cycle, an empty one where it waits. A section of a program takes
as many cycles as it has bundles, or, if that is more, as its products keep a unit busy, which the
compiler does not wait for; copies between HBM and VMEM hide behind that. It is what a clock would
show at best, but the same on every machine and every time.

A program is sections: loops, and branches that may be passed by. How often some are run depends on
the data: `Work` says it.
"""

import argparse
import collections
import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BENCH))  # a script of a folder that is no package

from tpu import chips  # noqa: E402

DELAY = 5  # bundles from a jump on, the jump among them, that are run even where it jumps
FLAGS = "--xla_jf_dump_to={} --xla_jf_dump_llo_text=true"

_BUNDLE = re.compile(r"\s*(0x[0-9a-f]+|0)\s+(?:[A-Z]{2})?:\s")
_JUMP = re.compile(r"sbr\.rel [^;]*?target = \$(region\d+)")
_STARTS = re.compile(r"Start(?:/End empty)? (region \d+)")
_PRODUCT = re.compile(r"vmatmul\.(?:mubr\.)?(?:msk\.)?(\w+)[\w.\[\]]*\.(mxu\d)")
ROWS = {"f32": 8, "bf16": 16}  # of the first matrix, in a register
_ENDS = re.compile(r"End (region \d+)")
_TURNS = re.compile(r"scmp\.\w+\.s32\.totalorder %\w+, (\d+) /\* loop exit test \*/")


@dataclasses.dataclass(frozen=True)
class Work:
  """What a kernel has to do, all of its grid together."""

  flops: float  # of matrix products
  bytes: float  # between HBM and VMEM
  steps: int  # of the grid
  # Of each branch, and each loop whose turns the program does not say, in the kernel's own part.
  runs: tuple[int, ...] = ()


@dataclasses.dataclass
class Section:
  """Bundles first..last - 1: the program, a loop's body, or what a branch may pass by."""

  first: int
  last: int
  loop: bool = False
  turns: int | None = None  # how often it is run each time that it is come to, if that is known
  inner: list = dataclasses.field(default_factory=list)

  @property
  def own(self):
    """The bundles that stand in no inner section."""
    inner = {b for s in self.inner for b in range(s.first, s.last)}
    return [b for b in range(self.first, self.last) if b not in inner]


def sections(text):
  """The Section of a program, from the text of its final bundles; inner ones in their order."""
  starts, ends, jumps, turns, address = {}, {}, [], {}, 0
  for line in text.splitlines():
    if found := _BUNDLE.match(line):
      address = int(found[1], 16)
    for name in _STARTS.findall(line):
      starts.setdefault(name.replace(" ", ""), address)
    for name in _ENDS.findall(line):
      ends[name.replace(" ", "")] = address
    if found := _TURNS.search(line):
      turns[address] = int(found[1])
    jumps += [(address, name) for name in _JUMP.findall(line)]
  whole = Section(0, address + 1, turns=1)
  found = []
  for at, name in jumps:
    there = starts.get(name, address)
    # So many bundles behind a jump are run even so; fewer where the text says it.
    behind = min([at + DELAY, *(start for start in starts.values() if start > at)])
    if there <= at:
      count = [n for place, n in turns.items() if there <= place <= at]
      last = ends[name] + 1 if ends.get(name, 0) > at else behind
      found.append(Section(there, last, True, count[-1] if count else None))
    elif there > behind:
      found.append(Section(behind, there))
  for section in sorted(found, key=lambda s: (s.first, -s.last)):
    place = whole
    while inside := [s for s in place.inner if s.first <= section.first and section.last <= s.last]:
      place = inside[0]
    place.inner.append(section)
  _without_guards(whole)
  return whole


def _without_guards(section):
  """Leaves out branches that do nothing but pass by a loop that turns no time."""
  for inner in section.inner:
    _without_guards(inner)
  only = lambda s: not s.loop and len(s.inner) == 1 and s.inner[0].loop
  guard = lambda s: only(s) and len(s.own) <= DELAY and s.inner[0].turns is None
  section.inner = [s.inner[0] if guard(s) else s for s in section.inner]


def passes(whole, work):
  """How often each bundle is passed, on one core.

  Raises ValueError where `work` counts other sections than there are.
  """
  grid = next((s for s in _all(whole) if s.loop and s.turns), None)
  # Where cores share the grid each has so many turns less; two turns more fill the pipeline.
  share = max(1, round(work.steps / max(grid.turns - 2, 1))) if grid else 1
  # The pipeline's own sections stand around the largest, which is the kernel's.
  body = max(grid.inner, key=lambda s: s.last - s.first, default=grid) if grid else whole
  asked = [s for s in _all(body) if s is not body and s.turns is None]
  if len(asked) != len(work.runs):
    places = ", ".join(f"{s.first:#x} to {s.last - 1:#x}" for s in asked)
    raise ValueError(f"runs are given of {len(work.runs)} sections; there are {places or 'none'}")
  runs = {id(section): times / share for section, times in zip(asked, work.runs, strict=True)}
  counts = [0] * whole.last

  def often(section, times):
    if section.turns:
      return times * section.turns
    if grid and grid in _all(section):
      return times  # all of a kernel that one core has for itself: the others pass it by
    return runs.get(id(section), work.steps / share)

  def walk(section, times):
    counts[section.first : section.last] = [times] * (section.last - section.first)
    for inner in section.inner:
      walk(inner, often(inner, times))

  walk(whole, 1)
  return counts


def _all(section):
  yield section
  for inner in section.inner:
    yield from _all(inner)


def products(text):
  """{unit: {bundle: rows that it multiplies there}}, bundles by their addresses."""
  found = collections.defaultdict(collections.Counter)
  for line in text.splitlines():
    if bundle := _BUNDLE.match(line):
      for dtype, unit in _PRODUCT.findall(line):
        found[unit][int(bundle[1], 16)] += ROWS[dtype]
  return found


def slots(text):
  """(capacities by unit, what each bundle uses of each) from a table of utilization."""
  lines = text.splitlines()
  names = lines[1].split(", ")
  numbers = lambda line: dict(zip(names, map(int, line.split()), strict=True))
  return numbers(lines[2]), [numbers(line) for line in lines[4:] if line.strip()]


def cycles(section, counts, started, each):
  """[(section, cycles of its own bundles, as often as they are run)] of a section and all in it.

  started: of `products`; each row keeps its unit busy for `each` cycles.
  """
  found = []
  for one in _all(section):
    if own := one.own:
      busy = max((sum(unit[b] for b in own) * each for unit in started.values()), default=0)
      found.append((one, counts[own[0]] * max(len(own), busy)))
  return found


def figures(bundles, used, work, chip):
  """A dict of what a kernel's schedule comes to on a chip.

  cycles: of one core, all its steps. empty, spills: bundles and slots of them, by how often they
  are passed. busy: {unit: share of its slots}. inner: the section that takes the most cycles, most
  often the inner loop: its share of them, its bundles, and of those the empty ones and the share of
  slots used. products: cycles that a unit is busy with them. hbm: bytes copied. flops_bound,
  bytes_bound: cycles that the work needs at the least. fraction: the higher of the two over the
  higher of cycles and bytes_bound, as copies can hide behind cycles and no further.
  """
  whole, started = sections(bundles), products(bundles)
  counts = passes(whole, work)
  capacity, rows = slots(used)
  if len(rows) < len(counts):
    raise ValueError(f"{len(counts)} bundles, but the use of {len(rows)}")
  passed = list(zip(counts, rows[: len(counts)], strict=True))
  units = {u: sum(n * row[u] for n, row in passed) for u in capacity}
  each = 2 * chip.tile**2 / (chip.cycle_flops / chip.units)
  within = cycles(whole, counts, started, each)
  taken = sum(n for _, n in within)
  flops = work.flops / chip.cores / chip.cycle_flops
  copies = work.bytes / chip.bandwidth * chip.clock
  return {
    "bundles": len(counts),
    "cycles": round(taken),
    "cycles_per_step": round(taken / work.steps, 1),
    "empty": round(sum(n for n, row in passed if not any(row.values()))),
    "spills": round(sum(units.get(u, 0) for u in ("VLOAD:FILL", "VSTORE:SPILL"))),
    "busy": {u: round(n / sum(counts) / capacity[u], 3) for u, n in units.items() if ":" not in u},
    "inner": _inner(*max(within, key=lambda pair: pair[1]), taken, capacity, rows),
    "hbm": round(work.bytes),
    "products": round(each * max((_often(counts, unit) for unit in started.values()), default=0)),
    "flops_bound": round(flops),
    "bytes_bound": round(copies),
    "fraction": round(max(flops, copies) / max(taken, copies), 3),
  }


def _inner(section, own, taken, capacity, rows):
  """See `figures`."""
  used = [rows[b] for b in section.own]
  share = lambda unit: sum(row[unit] for row in used) / len(used) / capacity[unit]
  empty = sum(not any(row.values()) for row in used)
  shares = {u: round(share(u), 3) for u in capacity if ":" not in u}
  return {"share": round(own / taken, 3), "bundles": len(used), "empty": empty} | shares


def vmem(report, name):
  """Bytes of VMEM that a kernel asks for, from the compiler's report (HTML) of its program."""
  at = report.index("{", report.index("const DATA"))
  parts = json.JSONDecoder().raw_decode(report, at)[0]["hlo_breakdowns"]
  form = rf"(\w+_)?{re.escape(name)}_*(\.\d+)?"
  # A program that is nothing but a kernel has no name for it.
  alike = [part for part in parts if re.fullmatch(form, part)] or ["<top-inlining-caller>"]
  blocks = parts[max(alike)]["blocks"]
  return sum(block["block_size"] for block in blocks if block["block_type"] == "SCOPED")


def _often(counts, unit):
  return sum(counts[bundle] * n for bundle, n in unit.items())


def measure(target, chip, **given):
  """{kernel: figures} of the kernels that `target`, "file.py:function", compiles for a chip.

  given: arguments of the function, as JSON has them. Each call compiles in a process of its own:
  the compiler takes its flags once.
  """
  with tempfile.TemporaryDirectory() as folder:
    ask = [__file__, target, "--chip", chip, "--given", json.dumps(given)]
    done = subprocess.run(
      [sys.executable, *ask, "--into", folder],
      env=os.environ
      | {"LIBTPU_INIT_ARGS": FLAGS.format(folder), "JAX_PLATFORMS": "cpu"}
      | {"JAX_TRACEBACK_FILTERING": "off"},  # the last lines say what went wrong
      capture_output=True,
      text=True,
    )
    if done.returncode:
      last = "\n".join(done.stderr.strip().splitlines()[-8:])
      raise RuntimeError(f"{target} for {chip} was not compiled:\n{last}")
    works = json.loads(Path(folder, "works.json").read_text())
    found = {}
    for name, work in works.items():
      text = lambda what, name=name: _newest(folder, name, what).read_text()
      found[name] = figures(
        text("final_bundles"),
        text("final_hlo-static-per-bundle-utilization"),
        Work(**work),
        chips.CHIPS[chip],
      ) | {"vmem": vmem(_report(folder), name)}
    return found


def _newest(folder, name, what):
  """The dump of a kernel, also of one that a derivative calls; of several of a name the last."""
  form = rf"\d+-(\w+_)?{re.escape(name)}_*(\.\d+)?-\d+-{what}"
  found = [path for path in Path(folder).glob(f"*-{what}.txt") if re.fullmatch(form, path.stem)]
  if not found:
    raise FileNotFoundError(f"no kernel {name!r} in what was compiled")
  return max(found)


def _report(folder):
  return max(Path(folder).glob("*-vmem_report.html")).read_text()


def _compile(target, chip, given, folder):
  path, _, function = target.partition(":")
  sys.path.insert(0, str(Path(path).resolve().parent))
  spec = importlib.util.spec_from_file_location("target", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  f, arguments, works = getattr(module, function)(**given)
  import jax

  layout = chips.one(chip)
  with jax.set_mesh(layout.mesh):
    jax.jit(f).lower(*chips.on(layout, arguments)).compile()
  works = {name: dataclasses.asdict(work) for name, work in works.items()}
  Path(folder, "works.json").write_text(json.dumps(works))


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("target", help="file.py:function")
  parser.add_argument("--chip", default="v5e", help="one of chips.CHIPS, or several: v5e,v6e")
  parser.add_argument("--given", default="{}", help="arguments of the function, as JSON")
  parser.add_argument("--into", help=argparse.SUPPRESS)
  args = parser.parse_args()
  given = json.loads(args.given)
  if args.into:
    _compile(args.target, args.chip, given, args.into)
    return
  for chip in args.chip.split(","):
    for name, found in measure(args.target, chip, **given).items():
      sys.stdout.write(f"{chip} {name}\n")
      for what, value in found.items():
        value = value if isinstance(value, dict) else {"": value}
        line = "  ".join(f"{k} {v:,}".strip() for k, v in value.items())
        sys.stdout.write(f"  {what:<16}{line}\n")


if __name__ == "__main__":
  main()
