"""The public face: `import cot_rm` shows types and documentation to editors and type checkers."""

import ast
import inspect
from pathlib import Path

import pytest

import cot_rm

SOURCE = Path(cot_rm.__file__)


def callables():
  """(name, function) of every public function, and of the public methods of every public class."""
  for name in cot_rm.__all__:
    found = getattr(cot_rm, name)
    if not inspect.isclass(found):
      yield name, found
      continue
    for method in dir(found):
      if not method.startswith("_") and callable(getattr(found, method)):
        yield f"{name}.{method}", getattr(found, method)


def test_type_checkers_see_every_public_name():
  (block,) = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
  assert ast.unparse(block.test) == "TYPE_CHECKING"
  assert sorted(alias.name for node in block.body for alias in node.names) == cot_rm.__all__


def test_the_installed_package_says_that_it_is_typed():
  assert (SOURCE.parent / "py.typed").exists()


@pytest.mark.parametrize("name", cot_rm.__all__)
def test_every_public_name_is_documented(name):
  found = getattr(cot_rm, name)
  assert found.__doc__ and not found.__doc__.startswith(f"{name}(")  # the dataclass's own


@pytest.mark.parametrize("name", dict(callables()))
def test_every_public_function_is_typed_and_documented(name):
  function = dict(callables())[name]
  signature = inspect.signature(function)
  assert inspect.getdoc(function), name
  assert signature.return_annotation is not inspect.Signature.empty, name
  for parameter in signature.parameters.values():
    where = f"{name}: {parameter.name}"
    assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD), where
    assert parameter.name == "self" or parameter.annotation is not parameter.empty, where


def test_the_words_of_an_unknown_name_list_the_known_ones():
  with pytest.raises(
    AttributeError, match="no attribute 'Exmple'; it has Candidates, Completion, Example"
  ):
    cot_rm.Exmple  # noqa: B018
