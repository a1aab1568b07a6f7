"""The notebooks: stored without outputs, without definitions, and they run from top to bottom."""

import ast
from pathlib import Path

import jax
import nbclient
import nbformat
import pytest
from IPython.core import inputtransformer2

ROOT = Path(__file__).resolve().parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Assignments that make a notebook small, inserted after its cell of parameters.
SMALL = {"judge_a_pair": "STEPS = 4", "train_in_ten_minutes": 'SIZE = "smoke"'}

each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def opened(path):
  """The notebook as it is stored."""
  return nbformat.read(path, as_version=4)


def code(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == "code"]


def trees(notebook):
  """The syntax trees of its code cells; lines for the shell are turned into calls."""
  plain = inputtransformer2.TransformerManager().transform_cell
  return [ast.parse(plain(cell.source)) for cell in code(notebook)]


def parameters(notebook):
  """The index of the cell of parameters."""
  (at,) = (
    i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())
  )
  return at


@each
def test_a_notebook_is_valid_and_stored_without_outputs(path):
  notebook = opened(path)
  nbformat.validate(notebook)
  for cell in code(notebook):
    assert not cell.outputs and cell.execution_count is None, cell.source


@each
def test_a_notebook_defines_nothing(path):
  made = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
  for tree in trees(opened(path)):
    assert not [node for node in ast.walk(tree) if isinstance(node, made)], ast.unparse(tree)


@each
def test_packages_are_installed_on_colab_only(path):
  install, *others = trees(opened(path))
  outside = [node for node in install.body if not isinstance(node, ast.If)]
  (guarded,) = (node for node in install.body if isinstance(node, ast.If))
  assert ast.unparse(guarded.test) == "'COLAB_RELEASE_TAG' in os.environ" and not guarded.orelse
  assert "run_line_magic('pip', 'install" in ast.unparse(guarded)
  assert not [tree for tree in [*outside, *others] if "get_ipython" in ast.unparse(tree)]


@pytest.mark.slow
@each
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
  monkeypatch.setenv("PYTHONPATH", str(ROOT))  # runs from a clone without an install
  monkeypatch.setenv("XLA_FLAGS", "")  # one device
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
  monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
  for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
    monkeypatch.setenv(name, str(tmp_path / name))
  notebook = opened(path)
  small = f"{SMALL[path.stem]}\nRUNS = {str(tmp_path / 'runs')!r}"
  notebook.cells.insert(parameters(notebook) + 1, nbformat.v4.new_code_cell(small))

  where = {"metadata": {"path": str(tmp_path)}}
  nbclient.NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=where).execute()

  cells = code(notebook)
  assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
  outputs = [output for cell in cells for output in cell.outputs]
  kinds = {kind for output in outputs for kind in output.get("data", ())}
  assert {"image/png", "text/html"} <= kinds  # pictures and tables
  assert len(list((tmp_path / "runs").glob("*/*/model"))) > 1  # the initial model and a trained one
