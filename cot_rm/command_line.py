"""The command line: flags to a config, and what is wrong with them in words."""

import re
import sys
from collections.abc import Mapping, Sequence

import ml_collections
from absl import flags, logging
from ml_collections import config_flags

from cot_rm import failures, knobs, registry

CONFIG = config_flags.DEFINE_config_file(
  "config", None, "The experiment, a file of configs/.", lock_config=True
)
TRACEBACK = flags.DEFINE_bool(
  "traceback", False, "Show the traceback of an error that its words explain, too."
)
TABLES = ("rewards", "sizes")  # sections of free keys: the command line may add one
_TABLE_KEY = re.compile(rf"--?config\.(\w+\.)*({'|'.join(TABLES)})\.\w+=.*", re.DOTALL)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "The folder of this run; runs/<name of the config> when absent."
)


def prepare() -> None:
  """Before `parse`: names of sections that Python would not read, and the log's level."""
  # A flag's path is read as Python, in which `import` is no name: the section is `importing`.
  sys.argv[:] = [re.sub(r"^(--?(no)?config)\.import\.", r"\1.importing.", a) for a in sys.argv]
  flags.FLAGS.set_default("verbosity", logging.INFO)


def config_name() -> str:
  """The config file of the flags, with its preset: configs/tiny.py:smoke."""
  return config_flags.get_config_filename(flags.FLAGS["config"])


def parse(argv: Sequence[str]) -> list[str]:
  """Parses the flags; a wrong one ends the program with its words, without a traceback."""
  # A tuple is read as Python, to which "base:sft,rl" is no expression; a quoted text is one.
  argv = [re.sub(r"^(--?config\.stages=)([\w:,.-]+)$", r"\1'\2'", arg) for arg in argv]
  argv, nones = split_nones(argv)
  argv, keys = split_table_keys(argv)
  given, sys.argv = sys.argv, argv  # where ml_collections looks for the knobs that are set
  try:
    rest = flags.FLAGS(argv)
    if flags.FLAGS["config"].present:
      config = CONFIG.value
      getattr(config, "to_dict", None)  # raises where the file could not be read
      check_config(config)
      set_nones(config, nones)
      set_table_keys(config, keys)
    return rest
  except Exception as error:  # of any kind: a config file is a program
    if "--traceback" in argv:
      raise
    sys.stderr.write(f"{_flag_fault(error, argv)}\n")
    sys.exit(1)
  finally:
    sys.argv = given


def _flag_fault(error: Exception, argv: Sequence[str]) -> str:
  """What is wrong with the command line or with the config file that it names."""
  if isinstance(error, (AttributeError, KeyError)) and (unknown := _unknown_knob(error, argv)):
    return unknown
  given = re.search(r"(?:^|\0)--?config(?:=|\0)([^\0]*)", "\0".join(argv))
  file = given[1].partition(":")[0] if given else ""
  if isinstance(error, flags.Error):
    if not re.match(r"flag --config=", str(error)):
      return failures.flag_words(str(error), _values())
    error = error.__cause__ or error.__context__ or error
  if file and not (isinstance(error, ValueError) and "--config." in str(error)):
    return failures.config_words(error, file)
  return str(error)


def _values() -> dict[str, object]:
  """{flag of a knob: its value}, as far as the config is there."""
  out, config = {}, flags.FLAGS["config"].value

  def add(section: Mapping[str, object], path: str) -> None:
    for name, value in section.items():
      if isinstance(value, ml_collections.ConfigDict):
        add(value, f"{path}.{name}")
      else:
        out[f"{path}.{name}"] = value

  if isinstance(config, ml_collections.ConfigDict):
    add(config, "config")
  return out


def _unknown_knob(error: Exception, argv: Sequence[str]) -> str | None:
  """The words for a knob that the config does not have; None for another error."""
  # ml_collections: a KeyError's text, quoted twice, with its suggestion on a second line.
  found = re.fullmatch(
    r"[\"']*(\w+)[\"']*(?:\\n|\n)?(Did you mean .*?)?[\"']*", str(error).replace("\\'", "'")
  )
  if not found:
    return None
  knob, hint = found.groups()
  flag = next((a for a in argv if re.search(rf"^--config\..*\b{knob}\b", a)), None)
  if flag is None:  # the config file itself names it
    return None
  return f"{flag}: the config has no {knob!r}. {hint or ''}".rstrip()


def split_nones(argv: Sequence[str]) -> tuple[list[str], list[str]]:
  """(the arguments without "--config.any.knob=None", the knobs that these set to None).

  ml_collections reads "None" as a number or a text. The last argument of a knob holds.
  """
  rest, nones = [], {}
  for arg in argv:
    knob, _, value = re.sub(r"^--?config\.", "", arg).partition("=")
    if re.match(r"--?config\.", arg) and value == "None":
      nones[knob] = arg
    else:
      rest.append(arg)
      nones.pop(knob, None)
  return rest, list(nones)


def set_nones(config: ml_collections.ConfigDict, knobs: Sequence[str]) -> None:
  """Sets knobs ("rl.max_pixels") to None.

  Raises:
    ValueError: None is no value of the knob; names it.
  """
  for knob in knobs:
    section, last = _section_of(config, knob, f"--config.{knob}=None")
    if last not in section:
      raise ValueError(f"--config.{knob}=None: the config has no {last!r}")
    if not getattr(section.get_ref(last), "nullable", False):
      raise ValueError(f"--config.{knob}=None: this knob is {section[last]!r} and cannot be None")
    section[last] = None


def check_config(config: object) -> None:
  """Checks what a config file's get_config returned: a config, and no knob that nothing reads.

  Raises:
    ValueError: names what is wrong.
  """
  if not isinstance(config, ml_collections.ConfigDict):
    kind = "nothing" if config is None else f"a {type(config).__name__}"
    raise ValueError(f"its get_config() returned {kind} and no ConfigDict; see configs/base.py")
  if not 0 <= config.get("seed", 0) < 2**32:
    raise ValueError(f"config.seed is {config.seed}; it must be from 0 to {2**32 - 1}")
  for name, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      if (section := knobs.SECTION_OF.get(name, name)) != name:
        raise ValueError(f"the section of the stage {name!r} is config.{section}")
    elif name not in knobs.SHARED:
      known = [knob for knob in config if knob != name]
      raise ValueError(f"config.{name}: there is no such knob; {registry.hint(name, known)}")


def split_table_keys(argv: Sequence[str]) -> tuple[list[str], list[str]]:
  """(the other arguments, those that set one key of a table, "--config.rl.rewards.format=1").

  ml_collections takes no key that is not there already.
  """
  keys = [arg for arg in argv if _TABLE_KEY.fullmatch(arg)]
  return [arg for arg in argv if arg not in keys], keys


def set_table_keys(config: ml_collections.ConfigDict, keys: Sequence[str]) -> None:
  """Sets keys of tables, after all other flags, as "--config.rl.rewards.format=1" says.

  Raises:
    ValueError: there is no such table, or the value is not of the kind of its others.
  """
  for arg in keys:
    knob, text = arg.partition("config.")[2].split("=", 1)
    table, key = _section_of(config, knob, arg)
    like = table.get(key, next(iter(table.values()), 0.0))
    try:
      value = type(like)(text)
    except ValueError:
      raise ValueError(f"{arg}: {text!r} is not {failures.kind_of(like)}") from None
    with table.unlocked():
      table[key] = value


def _section_of(
  config: ml_collections.ConfigDict, knob: str, arg: str
) -> tuple[ml_collections.ConfigDict, str]:
  """(the section of a knob "rl.optim.lr", "lr"), as the argument `arg` names it."""
  *path, last = knob.split(".")
  section = config
  for name in path:
    if not isinstance(section, ml_collections.ConfigDict) or name not in section:
      raise ValueError(f"{arg}: the config has no {name!r}; {registry.hint(name, section)}")
    section = section[name]
  return section, last
