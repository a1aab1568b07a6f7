"""Errors of a user's making, told from faults of the program: their words alone, no traceback."""

import linecache
import os
import pathlib
import re
import sys
import traceback

PACKAGE = pathlib.Path(__file__).resolve().parent
# What this package raises about a knob, a file, an example or a service.
RAISED = (ValueError, OSError, RuntimeError, TypeError, ImportError, FloatingPointError)


def words(error: BaseException) -> str | None:
  """The words of an error of a user's making; None: it is a fault of the program.

  Of a user's making is what this package raises itself, by a `raise` statement of its own with
  words of its own, and what the system says about a file.
  """
  if isinstance(error, OSError) and error.filename is not None:
    return f"{os.fspath(error.filename)}: {error.strerror}"
  if isinstance(error, RAISED) and str(error) and _raised_here(error):
    return str(error)
  return None


def config_words(error: BaseException, file: str) -> str:
  """What is wrong with a config file, with the line.

  Args:
    error: what was raised while the file was read, or its get_config was called.
    file: the config file.
  """
  if isinstance(error, SyntaxError):
    shown = (error.text or "").strip()
    return f"{error.filename}, line {error.lineno}: {error.msg}: {shown}"
  if not os.path.exists(file):
    return f"there is no config file {file!r}; those of this package are in configs/"
  if isinstance(error, AttributeError) and error.name == "get_config":
    return f"{file}: no experiment: it has no function get_config()"
  while str(error).startswith("Error whilst parsing"):
    if (inner := error.__cause__ or error.__context__) is None:
      break
    error = inner
  if os.path.isdir(file):
    return f"{file} is a folder and no config file"
  frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
  text = " ".join(str(error).replace("\\n", " ").split())
  if unknown := re.search(r'Key "(\w+)" does not exist', text):
    hint = re.search(r"Did you mean .*?\?", text)
    text = f"this section has no {unknown[1]!r}. {hint[0] if hint else ''}".rstrip()
  if not frames:
    return f"{file}: {text or type(error).__name__}"
  kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
  return f"{file}, line {frames[-1].lineno}: {kind}{text}"


def flag_words(message: str, kinds: dict[str, object]) -> str:
  """What is wrong with a flag, from the words of absl.

  Args:
    message: such as "flag --config.seed=abc: invalid literal for int() with base 10: 'abc'".
    kinds: {flag: the value that it has now}, by which its type is said.
  """
  if found := re.match(r"flag --([\w.]+)=(.*?): ", message, re.DOTALL):
    name, given = found.groups()
    if name in kinds:
      value = kinds[name]
      return f"--{name}={given}: {given!r} is not {kind_of(value)}; it is {value!r} now"
  if found := re.match(r"Unknown command line flag '(.*?)'(?:\. (.*))?", message, re.DOTALL):
    hint = (found[2] or "Knobs are set as --config.seed=1").replace(" ?", "?")
    return f"--{found[1]}: no such flag. {hint}".rstrip()
  return message


def say(text: str, error: BaseException, *, folder: str | os.PathLike[str] | None) -> None:
  """Writes the words to standard error, and the traceback to error.txt in an existing folder."""
  where = ""
  if folder is not None and os.path.isdir(folder):
    path = pathlib.Path(folder) / "error.txt"
    path.write_text("".join(traceback.format_exception(error)))
    where = f"(the traceback is in {path})\n"
  sys.stderr.write(f"{text}\n{where}")


def _raised_here(error: BaseException) -> bool:
  """Whether the error comes from a `raise` statement of this package or of its configs."""
  frames = traceback.extract_tb(error.__traceback__)
  if not frames:
    return False
  file, number = pathlib.Path(frames[-1].filename).resolve(), frames[-1].lineno
  ours = file.is_relative_to(PACKAGE) or file.parent == PACKAGE.parent / "configs"
  return ours and linecache.getline(str(file), number or 0).lstrip().startswith("raise ")


def kind_of(value: object) -> str:
  """The kind of a knob's value, in words."""
  if isinstance(value, bool):
    return "true or false"
  kinds = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list such as '(1, 2)'",
  }
  return kinds.get(type(value), f"a value such as {value!r}")
