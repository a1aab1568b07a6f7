"""One name for the kernels from a clone and from every kind of install; an import that is light."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPS = sorted(path.stem for path in (ROOT / "kernels").glob("*.py"))

# Imports transformers first, then every kernel; prints where cot_rm and its kernels came from.
LOOK = f"""
import sys
sys.path[:] = [p for p in sys.path if p not in ("", {str(ROOT)!r})] if {{away}} else sys.path
import transformers
import importlib, pathlib, cot_rm
for op in {OPS}:
  module = importlib.import_module(f"cot_rm.kernels.{{{{op}}}}")
  print(pathlib.Path(module.__file__).resolve())
print(pathlib.Path(cot_rm.__file__).resolve().parent)
texts = pathlib.Path(cot_rm.__file__).parent
assert list(texts.glob("prompts/texts/*.txt")) and list(texts.glob("report/*.j2")), texts
assert cot_rm.Example.__name__ == "Example"
"""


def python(executable, code, cwd):
  """What a python prints, started away from this clone and from this process's paths."""
  env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
  done = subprocess.run(
    [executable, "-c", code], cwd=cwd, capture_output=True, text=True, env=env, check=False
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.split()


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
  """A copy of what packaging takes: a build writes beside its sources."""
  folder = tmp_path_factory.mktemp("clone")
  for name in ("cot_rm", "kernels"):
    shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
  for name in ("setup.py", "pyproject.toml", "LICENSE"):
    shutil.copy(ROOT / name, folder)
  return folder


def scratch(folder):
  """A fresh environment that sees this one's packages, behind its own. Returns its python."""
  subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
  (site,) = folder.glob("lib/python*/site-packages")
  (site / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n")
  return folder / "bin" / "python"


def install(executable, *arguments):
  """pip install from what is on this machine alone."""
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "pip",
      "--python",
      executable,
      "install",
      "--no-deps",
      "--no-index",
      "--no-build-isolation",
      "--ignore-installed",
      "--disable-pip-version-check",
      *arguments,
    ],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr


def test_a_bare_clone_has_the_kernels_beside_transformers(clone):
  *ops, home = python(sys.executable, LOOK.format(away=False), clone)
  assert ops == [str(clone / "kernels" / f"{op}.py") for op in OPS]
  assert home == str(clone / "cot_rm")


@pytest.mark.parametrize(
  "mode",
  ["lenient", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("strict", "compat"))],
)
def test_an_editable_install_has_the_kernels_of_the_clone(clone, tmp_path, mode):
  executable = scratch(tmp_path / "venv")
  install(executable, f"--config-settings=editable_mode={mode}", "-e", str(clone))
  *ops, home = python(executable, LOOK.format(away=True), tmp_path)
  # The strict mode shows the clone through links.
  assert ops == [str(clone / "kernels" / f"{op}.py") for op in OPS]
  assert home == str(clone / "cot_rm") or mode == "strict"


def test_a_regular_install_holds_the_kernels_itself(clone, tmp_path):
  executable = scratch(tmp_path / "venv")
  install(executable, str(clone))
  *ops, home = python(executable, LOOK.format(away=True), tmp_path)
  (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
  assert home == str(site / "cot_rm")
  assert ops == [str(site / "cot_rm" / "kernels" / f"{op}.py") for op in OPS]
  assert not (site / "kernels").exists()


def test_importing_the_package_is_light_and_starts_no_backend(tmp_path):
  python(
    sys.executable,
    f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import cot_rm
heavy = ("flax", "grain", "matplotlib", "orbax", "tensorflow", "tensorflow_datasets", "torch",
         "transformers", "jax")
assert not [name for name in heavy if name in sys.modules], sorted(sys.modules)
""",
    tmp_path,
  )


def test_the_public_names_start_no_backend(tmp_path):
  python(
    sys.executable,
    f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import cot_rm
assert all(callable(getattr(cot_rm, name)) for name in cot_rm.__all__)
assert set(cot_rm.__all__) <= set(dir(cot_rm))
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
""",
    tmp_path,
  )


def test_an_unknown_public_name_says_what_there_is():
  import cot_rm

  with pytest.raises(AttributeError, match="'Exampel'; it has .*Example"):
    _ = cot_rm.Exampel


def test_every_dependency_is_declared():
  # A name that is imported and the project that it comes from, where they differ.
  project = {"PIL": "pillow", "absl": "absl-py", "orbax": "orbax-checkpoint", "yaml": "pyyaml"}
  plain = lambda name: re.split(r"[\[<>=;]", name)[0].replace("_", "-").lower()
  declared = {
    plain(node.value)
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
  }
  missing = set()
  for path in [*(ROOT / "cot_rm").rglob("*.py"), *(ROOT / "kernels").glob("*.py")]:
    for node in ast.walk(ast.parse(path.read_text())):
      names = (
        [alias.name for alias in node.names]
        if isinstance(node, ast.Import)
        else ([node.module] if isinstance(node, ast.ImportFrom) else [])
      )
      for top in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"cot_rm"}:
        if plain(project.get(top, top)) not in declared:
          missing.add(f"{path.relative_to(ROOT)}: {top}")
  assert not missing, sorted(missing)
