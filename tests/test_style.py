"""House style, checked: type annotations, sizes of functions, and the words that are retired."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_collections import ConfigDict

ROOT = Path(__file__).resolve().parents[1]
TYPED = [*sorted((ROOT / "cot_rm").rglob("*.py")), *sorted((ROOT / "kernels").glob("*.py"))]
NAMED = [*TYPED, *sorted((ROOT / "bench").rglob("*.py")), *sorted((ROOT / "configs").glob("*.py"))]

POSITIONAL = 6  # arguments that a function takes by position, at most
LINES = 80  # of a function; the algorithm box of the RL stage may have a few more
LONGER = {"cot_rm/stages/rl.py:run": 95}
SETTINGS = 8  # arguments of a kernel's function beside its arrays, at most

# Words of an earlier vocabulary. In any name, alone or joined by underscores:
RETIRED = frozenset(
  "seat seats seating room everyone apart parted taught sight heart careless unsound".split()
)
# As a whole name of a function, an argument or a field, whatever its dims:
RETIRED_NAMES = frozenset(
  "kept piece together spare age live drawn watched by_shares lay mapped own_shares shares silent "
  "look_every head_tiles again peer facts cards units slices whole".split()
)
RETIRED_CLASSES = frozenset(("Kept", "Memory", "Room", "Slots", "Texts"))
# As the name of a module, by its folder:
RETIRED_MODULES = {
  "cot_rm": {"checkpoint"},
  "cot_rm/data": {"hard", "kept", "lines", "samples", "sources", "store", "taught"},
  "cot_rm/algorithms": {"choices", "clipped", "correction", "masked", "returns"},
  "cot_rm/models": {"head", "hf", "int8", "media", "tensor_files"},
  "cot_rm/report": {"cards", "dots", "facts", "made", "votes"},
  "cot_rm/sampler": {"figures", "room", "texts", "votes", "weights"},
  "kernels": {"blocks", "head_tiles", "products", "sight"},
  "bench": {"apart", "peer"},
  "configs": {"careless", "heart", "stability"},
}
RETIRED_KNOBS = {
  "": {"again", "checked", "more"},
  "model": {"products"},
  "rl": {
    "ahead",
    "look_every",
    "questions",
    "rounds",
    "rows",
    "silent",
    "steps",
    "unsound",
    "updates",
  },
  "sampler": {"chunk", "piece", "spare", "together"},
  "eval": {"check", "check_pairs", "rows"},
  "reject": {"rows"},
  "judge": {"rows"},
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[tuple[Function, bool, bool]]:
  """(function, whether it is public, whether it is a method) of a file."""

  def visit(node, public, method):
    for child in ast.iter_child_nodes(node):
      if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
        dunder = child.name.startswith("__") and child.name.endswith("__")
        open_to_all = public and (dunder or not child.name.startswith("_"))
        yield child, open_to_all, method
        yield from visit(child, False, False)
      elif isinstance(child, ast.ClassDef):
        yield from visit(child, public and not child.name.startswith("_"), True)
      else:
        yield from visit(child, public, method)

  yield from visit(ast.parse(path.read_text(), str(path)), True, False)


def arguments(function: Function, method: bool) -> tuple[list[ast.arg], list[ast.arg]]:
  """(positional arguments without self, keyword-only arguments)."""
  found = [*function.args.posonlyargs, *function.args.args]
  static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
  return found[1:] if method and not static else found, function.args.kwonlyargs


def where(path: Path, node: ast.AST, name: str) -> str:
  return f"{path.relative_to(ROOT)}:{node.lineno}: {name}"


def stem(name: str) -> str:
  """A name without the dims that it ends in: age_B -> age."""
  head, _, tail = name.rpartition("_")
  return head if head and tail.isupper() else name


def is_array(argument: ast.arg) -> bool:
  return stem(argument.arg) != argument.arg or "ref" in argument.arg.split("_")


def test_every_public_function_is_typed():
  bad = []
  for path in TYPED:
    for function, public, method in functions(path):
      if not public:
        continue
      positional, keyword = arguments(function, method)
      every = [*positional, *keyword, function.args.vararg, function.args.kwarg]
      if missing := [a.arg for a in every if a is not None and a.annotation is None]:
        bad.append(where(path, function, f"{function.name}: {', '.join(missing)}"))
      if function.returns is None and function.name != "__init__":
        bad.append(where(path, function, f"{function.name} -> ?"))
  assert not bad, "\n".join(bad)


def test_no_function_takes_more_than_six_positional_arguments():
  bad = [
    where(path, function, f"{function.name} takes {count}")
    for path in TYPED
    for function, _, method in functions(path)
    if (count := len(arguments(function, method)[0])) > POSITIONAL
  ]
  assert not bad, "\n".join(bad)


def test_a_function_fits_a_screen():
  bad = []
  for path in TYPED:
    for function, _, _ in functions(path):
      lines = function.end_lineno - function.lineno + 1
      most = LONGER.get(f"{path.relative_to(ROOT)}:{function.name}", LINES)
      if lines > most:
        bad.append(where(path, function, f"{function.name} has {lines} lines"))
  assert not bad, "\n".join(bad)


def test_a_kernel_takes_few_settings():
  bad = []
  for path in (ROOT / "kernels").glob("*.py"):
    for function, _, method in functions(path):
      positional, keyword = arguments(function, method)
      count = sum(not is_array(a) for a in (*positional, *keyword))
      if count > SETTINGS:
        bad.append(where(path, function, f"{function.name} takes {count} beside its arrays"))
  assert not bad, "\n".join(bad)


def names(path: Path) -> Iterator[tuple[ast.AST, str]]:
  """(node, name) of the classes, functions, arguments and fields that a file defines."""
  for node in ast.walk(ast.parse(path.read_text(), str(path))):
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
      yield node, node.name
    elif isinstance(node, ast.arg):
      yield node, node.arg
    if isinstance(node, ast.ClassDef):
      for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
          yield field, field.target.id


def is_retired(name: str) -> bool:
  if name.strip("_") in RETIRED_CLASSES:
    return True
  plain = stem(name).strip("_").lower()
  return plain in RETIRED_NAMES or not RETIRED.isdisjoint(plain.split("_"))


def test_retired_words_name_no_class_function_argument_or_field():
  bad = [
    where(path, node, name) for path in NAMED for node, name in names(path) if is_retired(name)
  ]
  assert not bad, "\n".join(bad)


def test_retired_words_name_no_module():
  bad = []
  for path in NAMED:
    folder = str(path.parent.relative_to(ROOT))
    if is_retired(path.stem) or path.stem in RETIRED_MODULES.get(folder, ()):
      bad.append(str(path.relative_to(ROOT)))
  assert not bad, "\n".join(bad)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "configs").glob("*.py")))
def test_retired_words_name_no_knob(name):
  def knobs(config, section=""):
    for knob, value in config.items():
      yield section, knob
      if isinstance(value, ConfigDict):
        yield from knobs(value, f"{section}.{knob}".strip("."))

  config = importlib.import_module(f"configs.{name}").get_config()
  bad = [
    f"config.{section}.{knob}"
    for section, knob in knobs(config)
    if knob in RETIRED_KNOBS.get(section, ()) or not RETIRED.isdisjoint(knob.split("_"))
  ]
  assert not bad, "\n".join(bad)


def test_a_retired_word_is_found():
  assert all(map(is_retired, ("Slots", "age_B", "room", "seat_count", "_Seat", "own_shares")))
  assert not any(
    map(is_retired, ("DecodeSlots", "generated_B", "memory_bytes", "image", "sharded"))
  )
