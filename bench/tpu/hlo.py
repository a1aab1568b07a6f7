"""Traffic of a program compiled for a TPU: bytes of HBM, collectives, flops, expected cycles.

All are read from the text of the compiled program. XLA's own `cost_analysis` counts the body of a
loop once, counts accesses to VMEM as memory traffic, and cannot be asked about a part of a program.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence

BITS = {"pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "bf16": 16, "f16": 16}
BITS |= {"f8e4m3fn": 8, "f8e5m2": 8, "s32": 32, "u32": 32, "f32": 32, "s64": 64, "u64": 64}
BITS |= {"token": 0}

# Operations that move nothing, or whose traffic is counted where the transfer starts.
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "copy-done", "after-all"}
COLLECTIVES = {"all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute"}
WINDOW_STEPS = ("stride", "lhs_dilate", "rhs_dilate")  # of a convolution
PARTIAL = {"dynamic-slice", "slice", "gather"}  # operations that read a part of their operand

_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([\d,]*)(?::([^{}]*))?\})?")
_HEAD = re.compile(r"(?:ENTRY )?%([\w.\-]+) \(.*\{$")
_KERNEL_BYTES = re.compile(r'"cost_estimate":\{[^}]*"bytes_accessed":"(\d+)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Array:
  """An array of a program."""

  bytes: int  # in memory, in whole tiles
  hbm: bool  # whether it is in HBM


@dataclasses.dataclass(frozen=True)
class Instruction:
  """An instruction of a computation."""

  name: str
  op: str
  arrays: tuple[Array, ...]  # results
  operands: tuple[str, ...]  # names; the text in brackets of a parameter or a constant
  text: str  # text after the operands
  root: bool  # whether its result is the computation's
  kind: str  # type of the result as XLA writes it

  @property
  def dims(self) -> list[int]:
    """Shape of the result, an array."""
    return [int(d) for d in _ARRAY.match(self.kind)[2].split(",") if d]

  def called(self, role: str) -> list[str]:
    """Names of the computations that it calls as its "body", "condition", ..."""
    found = re.search(rf"\b{role}=\{{?((?:%[\w.\-]+(?:, )?)+)", self.text)
    return re.findall(r"%([\w.\-]+)", found[1]) if found else []


@dataclasses.dataclass(frozen=True)
class Moved:
  """Traffic of one run of a computation or an instruction, with loops by their trip counts."""

  read: int = 0  # bytes of HBM
  written: int = 0  # bytes of HBM
  cycles: int = 0  # the compiler's estimates, of the instructions that have one

  @property
  def bytes(self) -> int:
    """Bytes of HBM, read and written."""
    return self.read + self.written

  def __add__(self, other: "Moved") -> "Moved":
    mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
    return Moved(*(a + b for a, b in zip(mine, theirs, strict=True)))

  def __mul__(self, times: int) -> "Moved":
    return Moved(*(times * a for a in dataclasses.astuple(self)))


def arrays(kind: str) -> tuple[Array, ...]:
  """The Arrays of a type as XLA writes it; a tuple has several."""
  return tuple(_array(*found.groups()) for found in _ARRAY.finditer(kind))


def _array(dtype: str, dims: str, order: str | None, layout: str | None) -> Array:
  """The Array of a type's parts, such as "bf16", "3,5", "1,0", "T(8,128)(2,1)S(1)"."""
  sizes = [int(d) for d in dims.split(",") if d]
  tile = re.match(r"T\(([\d,]+)\)", layout or "")
  if tile and order:
    sizes = [sizes[int(i)] for i in reversed(order.split(","))]  # minor-most last
    tiles = [int(t) for t in tile[1].split(",")][-len(sizes) :]
    for i, t in enumerate(reversed(tiles), 1):
      sizes[-i] = -(-sizes[-i] // t) * t
  return Array(BITS[dtype] * math.prod(sizes) // 8, not re.search(r"S\(\d", layout or ""))


def parse(text: str) -> dict[str, dict[str, Instruction]]:
  """{computation: {name: Instruction}} of a module's text; the entry computation is "ENTRY"."""
  found, inside = {}, None
  for line in text.splitlines():
    if head := _HEAD.match(line):
      inside = found.setdefault("ENTRY" if line.startswith("ENTRY") else head[1], {})
    elif line.startswith("}"):
      inside = None
    elif inside is not None:
      instruction = _instruction(line.strip())
      inside[instruction.name] = instruction
  return found


def _instruction(line: str) -> Instruction:
  name, _, rest = line.removeprefix("ROOT ").partition(" = ")
  end = _closing(rest) if rest.startswith("(") else rest.index(" ")
  kind, rest = rest[:end], rest[end:].strip()
  end = _closing(rest)
  op, _, inner = rest[: end - 1].partition("(")
  operands = re.findall(r"%([\w.\-]+)", inner) or [inner]
  root = line.startswith("ROOT ")
  return Instruction(name[1:], op, arrays(kind), tuple(operands), rest[end:], root, kind)


def _closing(text: str) -> int:
  """Index after the bracket that closes the first bracket of a text."""
  depth = 0
  for i, letter in enumerate(text):
    depth += (letter == "(") - (letter == ")")
    if letter == ")" and not depth:
      return i + 1
  raise ValueError(f"a bracket is not closed: {text[:80]!r}")


def _convolution_flops(i: Instruction, left: Sequence[int]) -> int:
  """Flops of a convolution, the form that matrix products have on a TPU.

  Its spatial dimensions are further contracted dimensions, or batch dimensions.

  Args:
    i: the convolution.
    left: shape of its first operand.
  """
  labels = re.search(r"dim_labels=(\w+)_\w+->(\w+)", i.text)
  flops = 2 * math.prod(i.dims) * left[labels[1].index("f")]
  found = re.search(r"window=\{([^}]*)", i.text)
  window = {k: v.split("x") for k, v in re.findall(r"(\w+)=(\S+)", found[1])} if found else {}
  count = len(window.get("size", ()))
  defaults = {"size": "", "pad": "0_0", **dict.fromkeys(WINDOW_STEPS, "1")}
  by_axis = [window.get(name, [default] * count) for name, default in defaults.items()]
  for axis, (size, pad, *steps) in enumerate(zip(*by_axis, strict=True)):
    stride, left_dilation, right_dilation = map(int, steps)
    length, out = left[labels[1].index(str(axis))], i.dims[labels[2].index(str(axis))]
    padding = int(pad.split("_")[0])
    positions = (
      o * stride + k * right_dilation - padding for o in range(out) for k in range(int(size))
    )
    used = sum(p % left_dilation == 0 and 0 <= p // left_dilation < length for p in positions)
    flops = flops * used // out
  return flops


class Program:
  """Traffic of a module and of its computations."""

  def __init__(self, text: str):
    """Parses the text of a compiled module."""
    self.computations = parse(text)
    self.moved, self.flops = functools.cache(self.moved), functools.cache(self.flops)

  def trips(self, loop: Instruction) -> int:
    """Largest trip count of a loop: the number that its condition compares with, over its step.

    Raises ValueError if the condition does not compare with one number.
    """
    (condition,) = loop.called("condition")
    given = self.computations[condition].values()
    numbers = [int(n) for i in given if i.op == "constant" and (n := i.operands[0]).isdigit()]
    if len(numbers) != 1:
      raise ValueError(f"loop {loop.name}: its condition compares with {numbers}")
    return -(-numbers[0] // self._step(loop, [i for i in given if i.op == "get-tuple-element"]))

  def _step(self, loop: Instruction, counters: Sequence[Instruction]) -> int:
    """Increment of the loop's counter; 1 if the body does not show it."""
    body = self.computations[loop.called("body")[0]]
    (root,) = (i for i in body.values() if i.root)
    if len(counters) != 1 or root.op != "tuple":
      return 1
    index = int(re.search(r"index=(\d+)", counters[0].text)[1])
    step, at = 0, body.get(root.operands[index])
    while at and at.op in ("add", "copy", "bitcast"):
      inner = [body[name] for name in at.operands]
      step += sum(int(i.operands[0]) for i in inner if i.op == "constant")
      at = next((i for i in inner if i.op != "constant"), None)
    return step or 1

  def flops(self, computation: str = "ENTRY") -> int:
    """Flops of matrix products in one run of a computation, without those of kernels."""
    total, given = 0, self.computations[computation]
    for i in given.values():
      if i.op == "convolution":
        total += _convolution_flops(i, given[i.operands[0]].dims)
      elif i.op == "while":
        inner = self.flops(*i.called("body"))
        total += inner and inner * self.trips(i)  # trips may be unknown if the loop has no flops
      elif i.op == "conditional":
        total += max(map(self.flops, i.called("branch_computations")))
      else:
        total += sum(map(self.flops, i.called("calls") + i.called("to_apply")))
    return total

  def sent(self) -> Mapping[str, int]:
    """{kind of collective: bytes of the results of all collectives of the kind}."""
    total = collections.Counter()
    for (kind, _), (size, runs) in self._collectives("ENTRY").items():
      total[kind] += size * runs
    return total

  def _collectives(self, computation: str) -> dict[tuple[str, str], tuple[int, int]]:
    """{(kind, channel): (bytes, runs)} of one run of a computation.

    An asynchronous collective appears in several fusions, some inside of loops: its runs are the
    least of them.
    """
    found = {}

    def add(inner: Mapping[tuple[str, str], tuple[int, int]], turns: int) -> None:
      for key, (size, runs) in inner.items():
        found[key] = min(found.get(key, (size, runs * turns)), (size, runs * turns))

    for i in self.computations[computation].values():
      if (kind := i.op.removesuffix("-start")) in COLLECTIVES:
        # The result of a start holds the operands and the results.
        out = i.arrays[len(i.arrays) // 2 :] if i.op.endswith("-start") else i.arrays
        channel = re.search(r"channel_id=(\d+)", i.text)
        add({(kind, channel[1] if channel else i.name): (sum(a.bytes for a in out), 1)}, 1)
      elif i.op == "while":
        inner = self._collectives(*i.called("body"))
        add(inner, self.trips(i) if inner else 0)
      for name in i.called("calls"):
        add(self._collectives(name), 1)
    return found

  def moved(self, computation: str = "ENTRY") -> Moved:
    """Traffic of one run of a computation; a conditional counts as its largest branch."""
    within = self.computations[computation].values()
    return sum((self._of(i, computation) for i in within), Moved())

  def _of(self, i: Instruction, computation: str) -> Moved:
    """Traffic of one run of an instruction."""
    if i.op in FREE:
      return Moved()
    if i.op == "while":
      return self.moved(*i.called("body")) * self.trips(i)
    if i.op == "conditional":
      return max(map(self.moved, i.called("branch_computations")), key=lambda m: m.bytes)
    if i.op == "call":
      return self.moved(*i.called("to_apply"))
    if i.op == "custom-call" and (estimate := _KERNEL_BYTES.search(i.text)):
      return Moved(int(estimate[1]))  # a kernel's own estimate: it may read a part of an operand
    cycles = _CYCLES.search(i.text)
    given = self.computations[computation]
    read = sum(
      self._read(i, number, array)
      for number, name in enumerate(i.operands)
      if name in given
      for array in given[name].arrays
      if array.hbm
    )
    return Moved(read, self._written(i, given), int(cycles[1]) if cycles else 0)

  def _read(self, i: Instruction, number: int, array: Array) -> int:
    """Bytes that an instruction reads of the array that is its operand `number`."""
    size = sum(a.bytes for a in i.arrays)
    if i.op in PARTIAL and number == 0:
      return min(size, array.bytes)
    if i.op == "dynamic-update-slice" and number == 0:
      return 0  # written in place
    if i.op != "fusion":
      return array.bytes
    (inner,) = i.called("calls")
    within = self.computations[inner].values()
    names = [p.name for p in within if p.op == "parameter" and p.operands == (str(number),)]
    return min(array.bytes, sum(self._fusion_read(inner, name, array) for name in names))

  def _fusion_read(self, computation: str, name: str, array: Array) -> int:
    """Bytes that a fused computation reads of one of its values, an array in HBM."""
    if self.computations[computation][name].root:
      return array.bytes  # the value is the result
    total = 0
    for user in self.computations[computation].values():
      for number, operand in enumerate(user.operands):
        if operand == name and user.op == "bitcast":
          total += self._fusion_read(computation, user.name, array)
        elif operand == name:
          total += self._read(user, number, array)
    return total

  def _written(self, i: Instruction, given: Mapping[str, Instruction]) -> int:
    """Bytes of HBM that an instruction writes; given: the computation's instructions."""
    if i.op == "dynamic-update-slice":
      return given[i.operands[1]].arrays[0].bytes if i.arrays[0].hbm else 0
    if i.op == "copy-start":
      return i.arrays[0].bytes if i.arrays[0].hbm else 0
    if i.op != "fusion":
      return sum(a.bytes for a in i.arrays if a.hbm)
    inner = self.computations[i.called("calls")[0]]
    (root,) = (r for r in inner.values() if r.root)
    results = [inner[name] for name in root.operands] if root.op == "tuple" else [root]
    return sum(
      self._fusion_written(result, inner, array)
      for result, array in zip(results, i.arrays, strict=True)
      if array.hbm
    )

  def _fusion_written(
    self, result: Instruction, inner: Mapping[str, Instruction], array: Array
  ) -> int:
    """Bytes that a fused computation writes of one of its results, an array in HBM."""
    while result.op == "bitcast":
      result = inner[result.operands[0]]
    if result.op == "dynamic-update-slice":
      return inner[result.operands[1]].arrays[0].bytes
    return array.bytes
