"""A kernel's schedule in cycles, by the TPU compiler, on a machine without a TPU.

  python bench/tpu/schedule.py bench/kernels.py:flash --chip v5e

The named function returns (f, its arguments as shapes, {kernel name: Work}). The compiler issues
one bundle of instructions per cycle, an empty one while it waits. A section of a program takes as
many cycles as it has bundles, or as its matrix products keep a unit busy, if that is more: the
compiler does not wait for the units. Copies between HBM and VMEM overlap with both. The result is
the best case of a run on hardware, and is the same on every machine and in every run.

A program consists of sections: loops, and branches that may be skipped. How often some sections run
depends on the data and is given by `Work`.
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BENCH))  # bench/ is not a package

from tpu import chips  # noqa: E402

DELAY = 5  # bundles that run even if a jump is taken, the jump's own bundle included
FLAGS = "--xla_jf_dump_to={} --xla_jf_dump_llo_text=true"

_BUNDLE = re.compile(r"\s*(0x[0-9a-f]+|0)\s+(?:[A-Z]{2})?:\s")
_JUMP = re.compile(r"sbr\.rel [^;]*?target = \$(region\d+)")
_STARTS = re.compile(r"Start(?:/End empty)? (region \d+)")
_PRODUCT = re.compile(r"vmatmul\.(?:mubr\.)?(?:msk\.)?(\w+)[\w.\[\]]*\.(mxu\d)")
ROWS = {"f32": 8, "bf16": 16}  # rows of the first matrix in a register
Counts = Mapping[str, int]  # by functional unit
_ENDS = re.compile(r"End (region \d+)")
_TURNS = re.compile(r"scmp\.\w+\.s32\.totalorder %\w+, (\d+) /\* loop exit test \*/")


@dataclasses.dataclass(frozen=True)
class Work:
  """The work of a kernel over its whole grid."""

  flops: float  # of matrix products
  bytes: float  # copied between HBM and VMEM
  steps: int  # of the grid
  # Runs of each branch, and of each loop without a constant trip count, in the kernel's own part.
  runs: tuple[int, ...] = ()


@dataclasses.dataclass
class Section:
  """Bundles first..last - 1: the program, a loop's body, or bundles that a branch may skip."""

  first: int
  last: int
  loop: bool = False
  turns: int | None = None  # runs each time that it is reached; None: unknown
  inner: list["Section"] = dataclasses.field(default_factory=list)

  @property
  def own(self) -> list[int]:
    """Bundles outside of the inner sections."""
    inner = {b for s in self.inner for b in range(s.first, s.last)}
    return [b for b in range(self.first, self.last) if b not in inner]


def sections(text: str) -> Section:
  """The whole program as a Section, from the text of its final bundles; inner sections in order."""
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
    # DELAY bundles run even if the jump is taken; fewer if another section starts before.
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


def _without_guards(section: Section) -> None:
  """Removes branches that only skip a loop without turns."""
  for inner in section.inner:
    _without_guards(inner)
  section.inner = [s.inner[0] if _is_guard(s) else s for s in section.inner]


def _is_guard(section: Section) -> bool:
  """Whether a branch skips nothing but a loop of unknown trip count."""
  if section.loop or len(section.inner) != 1 or len(section.own) > DELAY:
    return False
  return section.inner[0].loop and section.inner[0].turns is None


def passes(program: Section, work: Work) -> list[float]:
  """Runs of each bundle, on one core.

  Raises ValueError if `work` has a different number of sections than the program.
  """
  grid = next((s for s in _all(program) if s.loop and s.turns), None)
  # Cores that share the grid divide its turns; two more turns fill the pipeline.
  cores = max(1, round(work.steps / max(grid.turns - 2, 1))) if grid else 1
  # The largest section of the grid is the kernel, the others are the pipeline's.
  body = max(grid.inner, key=lambda s: s.last - s.first, default=grid) if grid else program
  counted = [s for s in _all(body) if s is not body and s.turns is None]
  if len(counted) != len(work.runs):
    places = ", ".join(f"{s.first:#x} to {s.last - 1:#x}" for s in counted)
    raise ValueError(f"runs are given of {len(work.runs)} sections; there are {places or 'none'}")
  runs = {id(section): times / cores for section, times in zip(counted, work.runs, strict=True)}
  counts = [0] * program.last

  def section_runs(section: Section, times: float) -> float:
    if section.turns:
      return times * section.turns
    if grid and grid in _all(section):
      return times  # a kernel that runs on one core alone: the other cores skip it
    return runs.get(id(section), work.steps / cores)

  def walk(section: Section, times: float) -> None:
    counts[section.first : section.last] = [times] * (section.last - section.first)
    for inner in section.inner:
      walk(inner, section_runs(inner, times))

  walk(program, 1)
  return counts


def _all(section: Section) -> Iterator[Section]:
  """A section and all sections in it."""
  yield section
  for inner in section.inner:
    yield from _all(inner)


def matmul_rows(text: str) -> dict[str, dict[int, int]]:
  """{matrix unit: {address of a bundle: rows that it multiplies there}}."""
  found = collections.defaultdict(collections.Counter)
  for line in text.splitlines():
    if bundle := _BUNDLE.match(line):
      for dtype, unit in _PRODUCT.findall(line):
        found[unit][int(bundle[1], 16)] += ROWS[dtype]
  return found


def slots(text: str) -> tuple[Counts, list[Counts]]:
  """(slots of each unit in a bundle, slots that each bundle uses) of a utilization table."""
  lines = text.splitlines()
  names = lines[1].split(", ")

  def numbers(line: str) -> Counts:
    return dict(zip(names, map(int, line.split()), strict=True))

  return numbers(lines[2]), [numbers(line) for line in lines[4:] if line.strip()]


def cycles(
  section: Section,
  counts: Sequence[float],
  rows: Mapping[str, Mapping[int, int]],
  row_cycles: float,
) -> list[tuple[Section, float]]:
  """[(section, cycles of its own bundles in all their runs)] of a section and all in it.

  Args:
    section: the program.
    counts: runs of each bundle, of `passes`.
    rows: see `matmul_rows`.
    row_cycles: cycles for which a row keeps its matrix unit busy.
  """
  found = []
  for inner in _all(section):
    if own := inner.own:
      busy = max((sum(unit[b] for b in own) * row_cycles for unit in rows.values()), default=0)
      found.append((inner, counts[own[0]] * max(len(own), busy)))
  return found


def figures(bundles: str, used: str, work: Work, chip: chips.Chip) -> dict[str, object]:
  """Figures of a kernel's schedule on a chip.

  Args:
    bundles: the compiler's text of the final bundles.
    used: its utilization table of them.
    work: the kernel's work.
    chip: the chip.

  Returns:
    bundles: bundles of the program. cycles: cycles of one core over all its steps; cycles_per_step.
    empty, spills: empty bundles, and register spills and fills, in all runs.
    busy: {unit: fraction of its slots that are used}.
    inner: the section with the most cycles, usually the inner loop: its fraction of the cycles, its
      bundles, the empty ones among them, and the fraction of slots used.
    products: cycles for which a matrix unit is busy.
    hbm: bytes copied.
    flops_bound, bytes_bound: lower bounds of the cycles that the work needs.
    fraction: the higher bound over the higher of cycles and bytes_bound, as copies overlap with
      cycles.
  """
  program, product_rows = sections(bundles), matmul_rows(bundles)
  counts = passes(program, work)
  capacity, rows = slots(used)
  if len(rows) < len(counts):
    raise ValueError(f"{len(counts)} bundles, but the use of {len(rows)}")
  passed = list(zip(counts, rows[: len(counts)], strict=True))
  units = {u: sum(n * row[u] for n, row in passed) for u in capacity}
  row_cycles = 2 * chip.tile**2 / (chip.cycle_flops / chip.matrix_units)
  by_section = cycles(program, counts, product_rows, row_cycles)
  taken = sum(n for _, n in by_section)
  busiest = max((_all_rows(counts, unit) for unit in product_rows.values()), default=0)
  flops = work.flops / chip.cores / chip.cycle_flops
  copies = work.bytes / chip.bandwidth * chip.clock
  return {
    "bundles": len(counts),
    "cycles": round(taken),
    "cycles_per_step": round(taken / work.steps, 1),
    "empty": round(sum(n for n, row in passed if not any(row.values()))),
    "spills": round(sum(units.get(u, 0) for u in ("VLOAD:FILL", "VSTORE:SPILL"))),
    "busy": {u: round(n / sum(counts) / capacity[u], 3) for u, n in units.items() if ":" not in u},
    "inner": _inner(*max(by_section, key=lambda pair: pair[1]), taken, capacity, rows),
    "hbm": round(work.bytes),
    "products": round(row_cycles * busiest),
    "flops_bound": round(flops),
    "bytes_bound": round(copies),
    "fraction": round(max(flops, copies) / max(taken, copies), 3),
  }


def _inner(
  section: Section, own: float, total: float, capacity: Counts, rows: Sequence[Counts]
) -> dict[str, float]:
  """The entry "inner" of `figures`, of a section with `own` of `total` cycles."""
  used = [rows[b] for b in section.own]
  empty = sum(not any(row.values()) for row in used)
  fractions = {
    unit: round(sum(row[unit] for row in used) / len(used) / capacity[unit], 3)
    for unit in capacity
    if ":" not in unit
  }
  return {"share": round(own / total, 3), "bundles": len(used), "empty": empty} | fractions


def vmem(report: str, name: str) -> int:
  """Bytes of VMEM that a kernel allocates, from the compiler's report (HTML) of its program."""
  at = report.index("{", report.index("const DATA"))
  parts = json.JSONDecoder().raw_decode(report, at)[0]["hlo_breakdowns"]
  form = rf"(\w+_)?{re.escape(name)}_*(\.\d+)?"
  # A program that consists of the kernel alone has no name for it.
  alike = [part for part in parts if re.fullmatch(form, part)] or ["<top-inlining-caller>"]
  blocks = parts[max(alike)]["blocks"]
  return sum(block["block_size"] for block in blocks if block["block_type"] == "SCOPED")


def _all_rows(counts: Sequence[float], unit: Mapping[int, int]) -> float:
  """Rows that a matrix unit multiplies in all runs."""
  return sum(counts[bundle] * n for bundle, n in unit.items())


def measure(target: str, chip: str, **given: object) -> dict[str, dict[str, object]]:
  """{kernel: `figures`} of the kernels that a function compiles for a chip.

  Each call compiles in a process of its own, as the compiler reads its flags once.

  Args:
    target: "file.py:function".
    chip: of chips.CHIPS.
    given: arguments of the function, JSON values.

  Raises RuntimeError with the compiler's last lines if the function does not compile.
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
      found[name] = figures(
        _dump(folder, name, "final_bundles"),
        _dump(folder, name, "final_hlo-static-per-bundle-utilization"),
        Work(**work),
        chips.CHIPS[chip],
      ) | {"vmem": vmem(_report(folder), name)}
    return found


def _dump(folder: str, name: str, kind: str) -> str:
  """The compiler's last dump of a kind for a kernel, also for one that a derivative calls."""
  form = rf"\d+-(\w+_)?{re.escape(name)}_*(\.\d+)?-\d+-{kind}"
  found = [path for path in Path(folder).glob(f"*-{kind}.txt") if re.fullmatch(form, path.stem)]
  if not found:
    raise FileNotFoundError(f"no kernel {name!r} in the compiled program")
  return max(found).read_text()


def _report(folder: str) -> str:
  """The compiler's report of VMEM, HTML."""
  return max(Path(folder).glob("*-vmem_report.html")).read_text()


def _compile(target: str, chip: str, given: Mapping[str, object], folder: str) -> None:
  """Compiles a target; the compiler's flags write its dumps into the folder."""
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


def main() -> None:
  """Prints the figures of the kernels of one function."""
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
      for figure, value in found.items():
        value = value if isinstance(value, dict) else {"": value}
        line = "  ".join(f"{k} {v:,}".strip() for k, v in value.items())
        sys.stdout.write(f"  {figure:<16}{line}\n")


if __name__ == "__main__":
  main()
