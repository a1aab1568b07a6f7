"""The shape of the code base, checked: floors, doors, mirrored tests, what must never be."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 420  # lines of a file

FLOORS = (  # bottom first: a unit imports only units on floors below it
  {"kernels", "registry"},
  {"batch", "failures", "file_kinds", "files", "host", "knobs", "ranking", "schema", "sharding"},
  {"begun", "candidates", "command_line", "distributed", "media", "records"},
  {"metrics", "models", "prompts", "workdir"},
  {
    "data",
    "sampler",
    "algorithms",
    "rewards",
    "benchmarks",
    "checkpoints",
    "toy_world",
    "voting",
    "optim",
    "chat",
    "report",
  },
  {"policy"},
  {"judge", "reward_judge", "train", "vision_check"},
  {"rollout"},
  {"stages"},
  {"main"},
)
FLOOR = {unit: i for i, floor in enumerate(FLOORS) for unit in floor}

SHARED_BY_STAGES = tuple(
  f"cot_rm.stages.{name}"
  for name in (
    *("benchmark_pairs", "card", "common", "comparing", "contaminated", "evaluation"),
    *("preflight", "scored_models", "validation"),
  )
)
ANYWHERE = {"PIL", "absl", "cot_rm", "etils", "flax", "jax", "ml_dtypes", "numpy"}
DOORS = {  # any other dependency enters through the units named here, and no other
  "array_record": {"data"},
  "av": {"media"},
  "grain": {"data"},
  "huggingface_hub": {"checkpoints"},
  "jinja2": {"report"},
  "kernels": set(),  # Hugging Face's name; ours is cot_rm.kernels
  "libtpu": set(),  # the compiler that bench/ and tests use
  "matplotlib": {"report"},
  "ml_collections": {"command_line", "main"},
  "openai": {"chat"},
  "optax": {"optim", "train"},
  "orbax": {"checkpoints"},
  "tensorstore": {"checkpoints"},
  "pillow_heif": {"media"},
  "pyarrow": {"records"},
  "qwix": {"models"},
  "rich": {"metrics"},
  "safetensors": {"checkpoints"},
  "sentencepiece": {"toy_world"},
  "starlette": {"stages/serve.py"},
  "tensorboardX": {"metrics"},
  "tensorflow_datasets": {"data"},
  "tokenizers": {"toy_world"},
  "torch": set(),  # tests and benches only
  "transformers": {"models"},
  "uvicorn": {"stages/serve.py"},
  "yaml": {"records"},
}

SOURCES = {  # module name: path
  **{f"cot_rm.kernels.{path.stem}": path for path in sorted((ROOT / "kernels").glob("*.py"))},
  **{
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "cot_rm").rglob("*.py"))
  },
}


def unit(module):
  """The unit of a module: "cot_rm.toy_world.world" -> "toy_world"; the package itself has none."""
  return module.split(".")[1] if "." in module else None


def tree(path):
  return ast.parse(path.read_text(), str(path))


def imports(path):
  """Dotted names that a file imports, anywhere in it."""
  for node in ast.walk(tree(path)):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: a relative import"
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name):
  """The module of ours that an imported dotted name belongs to; None for others."""
  while name and name not in SOURCES:
    name = name.rpartition(".")[0]
  return name or None


def show(bad):
  return "\n".join(str(line) for line in bad)


def test_every_unit_stands_on_a_floor():
  lost = {unit(module) for module in SOURCES} - set(FLOOR) - {None}
  assert not lost, f"give a floor to {lost}"


def test_a_unit_imports_only_floors_below_it():
  bad = []
  for module, path in SOURCES.items():
    here = unit(module)
    for name in imports(path):
      there = unit(module_of(name) or "")
      if here and there and there != here and FLOOR[there] >= FLOOR[here]:
        bad.append(f"{module} (floor {FLOOR[here]}) imports {name} (floor {FLOOR[there]})")
  assert not bad, show(bad)


def test_kernels_know_jax_and_nothing_of_ours():
  bad = [
    f"{module} imports {name}"
    for module, path in SOURCES.items()
    if path.parent == ROOT / "kernels"
    for name in imports(path)
    if name.startswith("cot_rm") and not name.startswith("cot_rm.kernels.")
  ]
  assert not bad, show(bad)


def test_a_stage_imports_no_other_stage():
  bad = [
    f"{module} imports {name}"
    for module, path in SOURCES.items()
    if unit(module) == "stages"
    for name in imports(path)
    if name.startswith("cot_rm.stages.") and not module_of(name).startswith(SHARED_BY_STAGES)
  ]
  assert not bad, show(bad)


def test_each_dependency_enters_by_its_door():
  bad = []
  for module, path in SOURCES.items():
    for name in imports(path):
      top = name.split(".")[0]
      if top in ANYWHERE or top in sys.stdlib_module_names:
        continue
      if top not in DOORS:
        bad.append(f"{module} imports {name}: which is its door?")
      elif not DOORS[top] & {unit(module), "/".join(path.relative_to(ROOT).parts[1:])}:
        bad.append(f"{module} imports {name}: its door is {DOORS[top] or 'nowhere'}")
  assert not bad, show(bad)


def test_there_is_no_import_cycle():
  edges = {
    module: {m for m in map(module_of, imports(path)) if m and m != module}
    for module, path in SOURCES.items()
  }
  done, trail = set(), []

  def visit(module):
    if module in trail:
      pytest.fail(" -> ".join([*trail[trail.index(module) :], module]))
    if module not in done:
      trail.append(module)
      for other in sorted(edges[module]):
        visit(other)
      done.add(trail.pop())

  for module in SOURCES:
    visit(module)


def test_every_source_file_has_its_test():
  missing = []
  for path in SOURCES.values():
    relative = path.relative_to(ROOT)
    folders = relative.parts[:-1] if relative.parts[0] == "kernels" else relative.parts[1:-1]
    name = path.stem
    if name == "__init__":  # one that only lists names has nothing to test
      if not any(
        isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        for node in tree(path).body
      ):
        continue
      name = "init"
    test = ROOT.joinpath("tests", *folders, f"test_{name}.py")
    if not test.exists():
      missing.append(f"{relative} has no {test.relative_to(ROOT)}")
  assert not missing, show(missing)


def test_the_kernels_folder_is_no_package():
  assert not (ROOT / "kernels" / "__init__.py").exists()
  assert not [
    path for path in (ROOT / "kernels").iterdir() if path.is_dir() and path.name != "__pycache__"
  ]
  assert not list((ROOT / "tests").rglob("__init__.py"))


def test_what_must_never_be():
  bad = []
  for path in SOURCES.values():
    for node in ast.walk(tree(path)):
      what = None
      if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
        what = "print; use absl's logging, or metrics.table"
      elif isinstance(node, ast.ExceptHandler) and node.type is None:
        what = "a bare except"
      elif isinstance(node, ast.ExceptHandler) and all(isinstance(n, ast.Pass) for n in node.body):
        what = "a swallowed error"
      elif isinstance(node, ast.Global):
        what = "a module's state"
      elif isinstance(node, ast.Attribute) and node.attr == "default_backend":
        if path != ROOT / "cot_rm" / "sharding.py":
          what = "a second platform switch; use sharding.platform()"
      if what:
        bad.append(f"{path.relative_to(ROOT)}:{node.lineno}: {what}")
  assert not bad, show(bad)


def test_every_file_says_what_it_is_for_and_can_be_read_in_a_sitting():
  bad = []
  for path in SOURCES.values():
    if not ast.get_docstring(tree(path)):
      bad.append(f"{path.relative_to(ROOT)} opens with no docstring")
    if (lines := len(path.read_text().splitlines())) > LONGEST:
      bad.append(f"{path.relative_to(ROOT)} has {lines} lines; {LONGEST} is the most")
  assert not bad, show(bad)


def section(title):
  """The text of a section of BUILD.md."""
  text = (ROOT / "BUILD.md").read_text()
  return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def listed_paths():
  """The paths that the tree in BUILD.md lists, folders with a slash at the end."""
  parents = []
  for line in re.search(r"```\n(.*?)```", section("The tree"), re.S)[1].splitlines():
    name = line.split()[0]
    depth = (len(line) - len(line.lstrip())) // 2  # two spaces a folder
    parents = [*parents[:depth], name]
    yield "".join(parents)


def test_the_tree_in_build_md_lists_every_file_and_nothing_else():
  real = {"cot_rm/", "kernels/"}
  for path in [*ROOT.glob("cot_rm/**/*"), *ROOT.glob("kernels/**/*")]:
    skipped = path.name in ("__init__.py", "__pycache__") or path.suffix == ".pyc"
    if not skipped and path.parent.name != "texts":  # one line stands for all prompt texts
      real.add(f"{path.relative_to(ROOT)}{'/' if path.is_dir() else ''}")
  listed = list(listed_paths())
  assert len(listed) == len(set(listed)), "BUILD.md, The tree: a path is listed twice"
  missing, gone = sorted(real - set(listed)), sorted(set(listed) - real)
  assert not (missing or gone), f"BUILD.md, The tree: add {missing}; remove {gone}"


def test_the_floors_in_build_md_are_the_real_ones():
  lines = re.findall(r"^    \d  (.+)$", section("Floors"), re.M)
  found = [{word.strip("/") for word in line.split()} & set(FLOOR) for line in lines]
  # The line of `stages` names its modules, too, some of which are units as well.
  expected = [set(units) for units in reversed(FLOORS)]
  bad = [(units, names) for units, names in zip(expected, found, strict=True) if units - names]
  assert not bad, show(f"BUILD.md, Floors: expected {units}" for units, _ in bad)


def test_the_doors_in_build_md_are_the_real_ones():
  rows = re.findall(r"^\| (`.+`) \| (.+) \|$", section("Doors"), re.M)
  found = {
    (name, unit.strip("/"))
    for units, names in rows
    for unit in re.findall(r"`(.+?)`", units)
    for name in names.split(", ")
  }
  expected = {(name, unit) for name, units in DOORS.items() for unit in units if unit in FLOOR}
  assert found == expected, f"BUILD.md, Doors: {sorted(found ^ expected)}"
