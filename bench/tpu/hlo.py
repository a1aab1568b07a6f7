"""What a program that XLA compiled for a TPU moves: bytes of HBM, and cycles the compiler expects.

Read from the text of the compiled program. XLA's own `cost_analysis` counts the body of a loop
once, takes what lies in VMEM for memory traffic, and cannot be asked about a part of a program.
"""

import collections
import dataclasses
import functools
import math
import re

BITS = {"pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "bf16": 16, "f16": 16}
BITS |= {"f8e4m3fn": 8, "f8e5m2": 8, "s32": 32, "u32": 32, "f32": 32, "s64": 64, "u64": 64}
BITS |= {"token": 0}

# They move nothing, or it is counted where the move begins.
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "copy-done", "after-all"}
COLLECTIVES = {"all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute"}
STEPS = ("stride", "lhs_dilate", "rhs_dilate")  # of a convolution's window
PARTIAL = {"dynamic-slice", "slice", "gather"}  # they look at a part of what they are given

_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([\d,]*)(?::([^{}]*))?\})?")
_HEAD = re.compile(r"(?:ENTRY )?%([\w.\-]+) \(.*\{$")
_TOLD = re.compile(r'"cost_estimate":\{[^}]*"bytes_accessed":"(\d+)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Array:
  bytes: int  # as it lies in memory, in whole tiles
  hbm: bool


@dataclasses.dataclass(frozen=True)
class Instruction:
  name: str
  op: str
  arrays: tuple[Array, ...]  # what it gives
  operands: tuple[str, ...]  # names; of a parameter or a constant what stands in its brackets
  text: str  # what follows the operands
  root: bool
  kind: str  # its type as XLA writes it

  @property
  def dims(self):
    """Sizes of what it gives, an array."""
    return [int(d) for d in _ARRAY.match(self.kind)[2].split(",") if d]

  def called(self, how):
    """The names of the computations that it calls as its "body", "condition", ..."""
    found = re.search(rf"\b{how}=\{{?((?:%[\w.\-]+(?:, )?)+)", self.text)
    return re.findall(r"%([\w.\-]+)", found[1]) if found else []


@dataclasses.dataclass(frozen=True)
class Moved:
  """By one run of a computation or an instruction, loops as often as they turn."""

  read: int = 0  # bytes of HBM
  written: int = 0
  cycles: int = 0  # as the compiler expects them of the instructions that it says something of

  @property
  def bytes(self):
    return self.read + self.written

  def __add__(self, other):
    mine, its = dataclasses.astuple(self), dataclasses.astuple(other)
    return Moved(*(a + b for a, b in zip(mine, its, strict=True)))

  def __mul__(self, times):
    return Moved(*(times * a for a in dataclasses.astuple(self)))


def arrays(kind):
  """The Arrays of a type as XLA writes it, a tuple's one after the other."""
  return tuple(_array(*found.groups()) for found in _ARRAY.finditer(kind))


def _array(dtype, dims, order, layout):
  sizes = [int(d) for d in dims.split(",") if d]
  tile = re.match(r"T\(([\d,]+)\)", layout or "")
  if tile and order:
    sizes = [sizes[int(i)] for i in reversed(order.split(","))]  # the last one is the fastest
    tiles = [int(t) for t in tile[1].split(",")][-len(sizes) :]
    for i, t in enumerate(reversed(tiles), 1):
      sizes[-i] = -(-sizes[-i] // t) * t
  return Array(BITS[dtype] * math.prod(sizes) // 8, not re.search(r"S\(\d", layout or ""))


def parse(text):
  """{computation: {name: Instruction}} of a module's text; the entry's name is "ENTRY"."""
  found, inside = {}, None
  for line in text.splitlines():
    if head := _HEAD.match(line):
      inside = found.setdefault("ENTRY" if line.startswith("ENTRY") else head[1], {})
    elif line.startswith("}"):
      inside = None
    elif inside is not None:
      one = _instruction(line.strip())
      inside[one.name] = one
  return found


def _instruction(line):
  name, _, rest = line.removeprefix("ROOT ").partition(" = ")
  end = _closing(rest) if rest.startswith("(") else rest.index(" ")
  kind, rest = rest[:end], rest[end:].strip()
  end = _closing(rest)
  op, _, inner = rest[: end - 1].partition("(")
  operands = re.findall(r"%([\w.\-]+)", inner) or [inner]
  root = line.startswith("ROOT ")
  return Instruction(name[1:], op, arrays(kind), tuple(operands), rest[end:], root, kind)


def _closing(text):
  """The place behind the bracket that closes a text's first one."""
  depth = 0
  for i, letter in enumerate(text):
    depth += (letter == "(") - (letter == ")")
    if letter == ")" and not depth:
      return i + 1
  raise ValueError(f"a bracket stays open: {text[:80]!r}")


def _products(i, left):
  """Flops of a convolution, which is what a TPU's products of matrices are; left: of its operand.

  Dimensions that it slides over are sums over several, or batches of which each has its own.
  """
  labels = re.search(r"dim_labels=(\w+)_\w+->(\w+)", i.text)
  flops = 2 * math.prod(i.dims) * left[labels[1].index("f")]
  told = re.search(r"window=\{([^}]*)", i.text)
  window = {k: v.split("x") for k, v in re.findall(r"(\w+)=(\S+)", told[1])} if told else {}
  count = len(window.get("size", ()))
  told = lambda name, default: window.get(name, [default] * count)
  each = [told("size", ""), told("pad", "0_0"), *(told(n, "1") for n in STEPS)]
  for axis, (size, pad, *steps) in enumerate(zip(*each, strict=True)):
    stride, spread, apart = map(int, steps)
    length, out = left[labels[1].index(str(axis))], i.dims[labels[2].index(str(axis))]
    before = int(pad.split("_")[0])
    places = (o * stride + k * apart - before for o in range(out) for k in range(int(size)))
    used = sum(p % spread == 0 and 0 <= p // spread < length for p in places)
    flops = flops * used // out
  return flops


class Program:
  """A module's text, to be asked what its computations move."""

  def __init__(self, text):
    self.computations = parse(text)
    self.moved, self.flops = functools.cache(self.moved), functools.cache(self.flops)

  def loops(self, computation="ENTRY"):
    """The loops that stand in a computation."""
    return [i for i in self.computations[computation].values() if i.op == "while"]

  def trips(self, loop):
    """How often a loop turns at most: the number that its condition compares with, by steps."""
    (condition,) = loop.called("condition")
    given = self.computations[condition].values()
    numbers = [int(n) for i in given if i.op == "constant" and (n := i.operands[0]).isdigit()]
    if len(numbers) != 1:
      raise ValueError(f"loop {loop.name}: its condition compares with {numbers}")
    return -(-numbers[0] // self._step(loop, [i for i in given if i.op == "get-tuple-element"]))

  def _step(self, loop, counters):
    """What a turn adds to the loop's counter; 1 where the body does not say it."""
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

  def flops(self, computation="ENTRY"):
    """Of the products of matrices that one run of a computation makes; not those of kernels."""
    total, given = 0, self.computations[computation]
    for i in given.values():
      if i.op == "convolution":
        total += _products(i, given[i.operands[0]].dims)
      elif i.op == "while":
        inner = self.flops(*i.called("body"))
        total += inner and inner * self.trips(i)  # trips may be unknown where nothing hangs on it
      elif i.op == "conditional":
        total += max(map(self.flops, i.called("branch_computations")))
      else:
        total += sum(map(self.flops, i.called("calls") + i.called("to_apply")))
    return total

  def sent(self):
    """{kind of collective: bytes of what comes out of them all}."""
    total = collections.Counter()
    for (kind, _), (size, turns) in self._collectives("ENTRY").items():
      total[kind] += size * turns
    return total

  def _collectives(self, computation):
    """{(kind, channel): (bytes, how often)} of one run of a computation.

    One that goes on while others run stands in several fusions, and in loops within the one that
    begins it: it is sent as often as where it is seldom.
    """
    found = {}

    def add(inner, turns):
      for key, (size, often) in inner.items():
        found[key] = min(found.get(key, (size, often * turns)), (size, often * turns))

    for i in self.computations[computation].values():
      if (kind := i.op.removesuffix("-start")) in COLLECTIVES:
        # What starts one gives what goes in beside what comes out.
        out = i.arrays[len(i.arrays) // 2 :] if i.op.endswith("-start") else i.arrays
        channel = re.search(r"channel_id=(\d+)", i.text)
        add({(kind, channel[1] if channel else i.name): (sum(a.bytes for a in out), 1)}, 1)
      elif i.op == "while":
        inner = self._collectives(*i.called("body"))
        add(inner, self.trips(i) if inner else 0)
      for name in i.called("calls"):
        add(self._collectives(name), 1)
    return found

  def moved(self, computation="ENTRY"):
    """Moved by one run of a computation; of a branch the one that moves the most."""
    within = self.computations[computation].values()
    return sum((self._of(i, computation) for i in within), Moved())

  def _of(self, i, computation):
    if i.op in FREE:
      return Moved()
    if i.op == "while":
      return self.moved(*i.called("body")) * self.trips(i)
    if i.op == "conditional":
      return max(map(self.moved, i.called("branch_computations")), key=lambda m: m.bytes)
    if i.op == "call":
      return self.moved(*i.called("to_apply"))
    if i.op == "custom-call" and (told := _TOLD.search(i.text)):
      return Moved(int(told[1]))  # a kernel's own count: it may read a part of what it is given
    cycles = _CYCLES.search(i.text)
    given = self.computations[computation]
    read = sum(
      self._looked_at(i, place, array)
      for place, name in enumerate(i.operands)
      if name in given
      for array in given[name].arrays
      if array.hbm
    )
    return Moved(read, self._written(i, given), int(cycles[1]) if cycles else 0)

  def _looked_at(self, i, place, array):
    """Bytes that an instruction reads of the array that is its operand number `place`."""
    size = sum(a.bytes for a in i.arrays)
    if i.op in PARTIAL and place == 0:
      return min(size, array.bytes)
    if i.op == "dynamic-update-slice" and place == 0:
      return 0  # written in place
    if i.op != "fusion":
      return array.bytes
    (inner,) = i.called("calls")
    within = self.computations[inner].values()
    names = [p.name for p in within if p.op == "parameter" and p.operands == (str(place),)]
    return min(array.bytes, sum(self._seen(inner, name, array) for name in names))

  def _seen(self, computation, name, array):
    """Bytes that a fused computation reads of one of its values, an array in HBM."""
    if self.computations[computation][name].root:
      return array.bytes  # it is handed on
    total = 0
    for user in self.computations[computation].values():
      for place, operand in enumerate(user.operands):
        if operand == name and user.op == "bitcast":
          total += self._seen(computation, user.name, array)
        elif operand == name:
          total += self._looked_at(user, place, array)
    return total

  def _written(self, i, given):
    """Bytes of HBM that an instruction writes."""
    if i.op == "dynamic-update-slice":
      return given[i.operands[1]].arrays[0].bytes if i.arrays[0].hbm else 0
    if i.op == "copy-start":
      return i.arrays[0].bytes if i.arrays[0].hbm else 0
    if i.op != "fusion":
      return sum(a.bytes for a in i.arrays if a.hbm)
    inner = self.computations[i.called("calls")[0]]
    (root,) = (r for r in inner.values() if r.root)
    made = [inner[name] for name in root.operands] if root.op == "tuple" else [root]
    return sum(self._made(one, inner, a) for one, a in zip(made, i.arrays, strict=True) if a.hbm)

  def _made(self, one, inner, array):
    """Bytes that the root of a fused computation writes of an array in HBM."""
    while one.op == "bitcast":
      one = inner[one.operands[0]]
    if one.op == "dynamic-update-slice":
      return inner[one.operands[1]].arrays[0].bytes
    return array.bytes
