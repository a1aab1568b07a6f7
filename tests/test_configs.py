"""Every config loads, every section fits its function, and a misspelt knob is an error."""

import ast
import functools
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from cot_rm import command_line, prompts, rewards, stages, workdir
from cot_rm.benchmarks import BENCHMARKS

ROOT = Path(__file__).resolve().parents[1]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
PRESETS = [  # (config, what its get_config is given)
  (name, (preset,) if preset else ())
  for name in NAMES
  for preset in vars(importlib.import_module(f"configs.{name}")).get("PRESETS", [""])
]

STAGE = "read knob by knob in stages/"
TABLE = "a table, not arguments"
# What each section of base.py is: the keyword arguments of a function, or one of the two above.
SECTIONS = {
  "mesh": STAGE,
  "mesh.shape": TABLE,
  "mesh.train_rules": TABLE,
  "mesh.sample_rules": TABLE,
  "model": "cot_rm.judge.load",
  "processor": "cot_rm.models.qwen2_5_vl.processor.Processor.load",
  "buckets": "cot_rm.data.packing.Buckets",
  "data": STAGE,
  "sampler": "cot_rm.sampler.limits.Limits",
  "world": STAGE,
  "world.shapes": "cot_rm.toy_world.world.World",
  "world.sizes": TABLE,
  "importing": STAGE,
  "port": STAGE,
  "distill": STAGE,
  "distill.endpoint": "cot_rm.chat.Endpoint",
  "distill.sampling": "cot_rm.chat.Sampling",
  "distill.pictures": "cot_rm.chat.Pictures",
  "distill.budget": "cot_rm.chat.Budget",
  "distill.teacher": "cot_rm.toy_world.teacher.Teacher",
  "sft": STAGE,
  "sft.optim": "cot_rm.optim.make",
  "rl": STAGE,
  "rl.settings": STAGE,
  "rl.settings.grpo": "cot_rm.algorithms.grpo.Config",
  "rl.settings.rloo": "cot_rm.algorithms.rloo.Config",
  "rl.settings.reinforce_pp": "cot_rm.algorithms.reinforce_pp.Config",
  "rl.settings.stable_reinforce": "cot_rm.algorithms.stable_reinforce.Config",
  "rl.correction": "cot_rm.algorithms.importance_correction.Config",
  "rl.judge": STAGE,
  "rl.judge.sampling": "cot_rm.chat.Sampling",
  "rl.judge.endpoint": "cot_rm.chat.Endpoint",
  "rl.judge.budget": "cot_rm.chat.Budget",
  "rl.rewards": TABLE,
  "rl.sampling": "cot_rm.sampler.sampling.Sampling",
  "rl.optim": "cot_rm.optim.make",
  "reject": STAGE,
  "reject.sampling": "cot_rm.sampler.sampling.Sampling",
  "eval": STAGE,
  "judge": STAGE,
}


def load(name, *argument):
  return importlib.import_module(f"configs.{name}").get_config(*argument)


def sections(config, path=""):
  """(dotted name, section) of each section of a config; the arguments of a function have none."""
  for name, value in config.items():
    if isinstance(value, ConfigDict):
      yield path + name, value
      if SECTIONS.get(path + name) == STAGE:
        yield from sections(value, f"{path}{name}.")


def as_stages(config):
  """The config, and a config for each section of a stage that runs again ("sft2:sft")."""
  out = config.copy_and_resolve_references()
  stages_again = {f: s for f, s in workdir.entries(config.stages).items() if f not in load("base")}
  for folder in stages_again:
    if folder in out:
      del out[folder]
  return [out] + [
    ConfigDict({stage: config[folder]})
    for folder, stage in stages_again.items()
    if folder in config
  ]


def resolve(dotted):
  """The object of a dotted name: a function, a class, or a method of a class."""
  module, names = dotted, []
  while True:
    try:
      found = importlib.import_module(module)
      break
    except ModuleNotFoundError as error:
      if not module.startswith(f"{error.name}") or "." not in module:
        raise
      module, _, name = module.rpartition(".")
      names.insert(0, name)
  for name in names:
    found = getattr(found, name)
  return found


def misfits(config):
  """The knobs of a config that no function and no stage takes."""
  base, bad = dict(sections(load("base"))), []
  for path, section in sections(config):
    row = SECTIONS.get(path)
    if row is None:
      bad.append(f"config.{path} has no row in SECTIONS")
    elif row == STAGE:
      bad += [
        f"config.{path}.{knob} is not in base.py"
        for knob in section
        if path not in base or knob not in base[path]
      ]
    elif row != TABLE:
      try:
        inspect.signature(resolve(row)).bind_partial(**section)
      except TypeError as error:
        bad.append(f"config.{path} does not fit {row}: {error}")
  return bad + [f"config.{knob} is not in base.py" for knob in config if knob not in load("base")]


@pytest.mark.parametrize("name, preset", PRESETS)
def test_a_config_loads_and_its_sections_fit(name, preset):
  bad = [misfit for part in as_stages(load(name, *preset)) for misfit in misfits(part)]
  assert not bad, "\n".join(bad)


def missing(config):
  """The knobs of base.py that a config lacks: its file replaced a section that it had to update."""
  base, found = dict(sections(load("base"))), dict(sections(config))
  return [
    f"config.{path}.{knob}"
    for path, section in found.items()
    if path in base and SECTIONS.get(path) != TABLE
    for knob in base[path]
    if knob not in section
  ]


@pytest.mark.parametrize("name, preset", PRESETS)
def test_a_section_of_a_config_has_every_knob_of_base(name, preset):
  bad = [knob for part in as_stages(load(name, *preset)) for knob in missing(part)]
  assert not bad, "\n".join(bad)


def test_a_section_that_a_config_replaces_is_found():
  config = load("base")
  config.rl.optim = dict(lr=1e-6)
  assert "config.rl.optim.frozen" in missing(config)


@pytest.mark.parametrize("knob", ["sampling.max_tokens", "optim.lr", "rollouts"])
def test_a_section_that_inherits_follows_the_other_until_it_is_set(knob):
  config = load("consistency_ablation")
  *path, last = knob.split(".")

  def at(section):
    for name in path:
      section = section[name]
    return section

  at(config.rl)[last] = 3
  assert at(config.rl_consistency)[last] == 3
  at(config.rl_consistency)[last] = 5
  assert (at(config.rl)[last], at(config.rl_consistency)[last]) == (3, 5)
  at(config.rl)[last] = 7
  assert at(config.rl_consistency)[last] == 5


def test_the_buffer_of_dapo_is_a_fifth_of_max_tokens_on_the_command_line_too():
  config = load("rl", "dapo")
  config.rl.sampling.max_tokens = 100
  assert config.rl.settings.grpo.buffer == 20


@pytest.mark.parametrize("name, preset", PRESETS)
def test_the_stages_of_a_config_are_known(name, preset):
  assert set(workdir.entries(load(name, *preset).stages).values()) <= set(stages.STAGES)


@pytest.mark.parametrize("name, preset", PRESETS)
def test_a_grammar_without_scores_has_a_judge_model_for_consistency(name, preset):
  config = load(name, *preset)
  for folder, stage in workdir.entries(config.stages).items():
    if stage == "rl" and rewards.asks(config[folder].rewards, prompts.get(config.grammar)):
      assert config[folder].judge.by in ("service", "policy"), folder


@pytest.mark.parametrize("name, preset", PRESETS)
def test_the_longest_answer_of_rl_fits_into_a_bucket(name, preset):
  config = load(name, *preset)
  for folder, stage in workdir.entries(config.stages).items():
    if stage == "rl":
      assert config[folder].sampling.max_tokens <= max(config.buckets.answers), folder


@pytest.mark.parametrize("name", sorted({name for name, preset in PRESETS if preset}))
def test_an_unknown_preset_is_an_error_with_the_known_presets(name):
  known = ", ".join(preset for (preset,) in (found for one, found in PRESETS if one == name))
  with pytest.raises(ValueError, match=re.escape(f"configs/{name}.py has no preset 'x'. Known: ")):
    load(name, "x")
  assert importlib.import_module(f"configs.{name}").get_config.__defaults__[0] in known


def test_each_benchmark_is_a_preset():
  assert {preset for name, preset in PRESETS if name == "eval"} == {(b,) for b in BENCHMARKS}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "base"])
def test_the_docstring_of_a_config_has_its_command(name):
  assert f"--config configs/{name}.py" in importlib.import_module(f"configs.{name}").__doc__


@pytest.mark.parametrize("name", [name for name, preset in PRESETS if preset == ("smoke",)])
def test_a_smoke_run_has_the_same_stages(name):
  assert load(name, "smoke").stages == load(name).stages


def test_no_function_of_a_section_takes_any_keyword():
  for row in {row for row in SECTIONS.values() if row not in (STAGE, TABLE)}:
    kinds = [parameter.kind for parameter in inspect.signature(resolve(row)).parameters.values()]
    assert inspect.Parameter.VAR_KEYWORD not in kinds, row


# Arguments that have a default and no knob: a stage passes them, or they are for library users.
NO_KNOB = {
  "cot_rm.judge.load": {
    *("min_pixels", "max_pixels", "fps", "max_frames", "mrope", "video"),
    "control_tokens",  # of processor, as these
    "options",  # knobs of the section data
    *("buckets", "max_prompts", "sampler", "mesh", "rules", "sample_mesh", "sample_rules"),
  },
  "cot_rm.chat.Pictures": {"options"},
  "cot_rm.chat.Sampling": {"attempt"},
  "cot_rm.sampler.sampling.Sampling": {"logps_temperature"},  # of RL alone
  "cot_rm.models.qwen2_5_vl.processor.Processor.load": {"options"},
}
# What library users call by itself: it has defaults, equal to those of base.py.
LIBRARY = {
  "cot_rm.chat.Budget",
  "cot_rm.chat.Endpoint",
  "cot_rm.chat.Pictures",
  "cot_rm.chat.Sampling",
  "cot_rm.judge.load",
  "cot_rm.models.qwen2_5_vl.processor.Processor.load",
  "cot_rm.sampler.limits.Limits",
  "cot_rm.sampler.sampling.Sampling",
  "cot_rm.toy_world.teacher.Teacher",
  "cot_rm.toy_world.world.World",
}
# Knobs whose function has another default, and why.
TWO_DEFAULTS = {
  "rl.sampling.logps_temperature": "None: the temperature; elsewhere logps are the model's, at 1",
  "processor.mrope": "None: as the model folder has saved it, for readers of folders",
  "processor.video": "None: as the model folder has saved it, for readers of folders",
}


@pytest.mark.parametrize(
  "path, row", [(path, row) for path, row in SECTIONS.items() if row not in (STAGE, TABLE)]
)
def test_a_knob_has_one_default(path, row):
  section = dict(sections(load("base")))[path]
  bad = []
  for name, parameter in inspect.signature(resolve(row)).parameters.items():
    if parameter.default is inspect.Parameter.empty or f"{path}.{name}" in TWO_DEFAULTS:
      continue
    if row not in LIBRARY:
      bad.append(f"{row}: {name}={parameter.default!r}; configs/base.py alone has its default")
    elif name not in section:
      if name not in NO_KNOB.get(row, ()):
        bad.append(f"{row}: {name}={parameter.default!r} has no knob in config.{path}")
    elif section[name] != parameter.default:
      bad.append(f"{row}: {name}={parameter.default!r}, config.{path}.{name}={section[name]!r}")
  assert not bad, "\n".join(bad)


def test_every_row_is_a_section_of_base():
  stale = sorted(set(SECTIONS) - {path for path, _ in sections(load("base"))})
  assert not stale, stale


def test_a_misspelt_knob_in_a_config_file_is_found():
  config = load("base").unlock()
  config.sft.stepz = 3
  config.sft.optim.learning_rate = 1e-3
  config.sed = 1
  bad = "\n".join(misfits(config))
  assert "config.sft.stepz" in bad and "learning_rate" in bad and "config.sed" in bad


def test_every_knob_is_read():
  words = set()
  readers = {*(ROOT / "cot_rm" / "stages").glob("*.py")}
  readers -= {ROOT / "cot_rm" / "stages" / "preflight_knobs.py"}  # names every knob
  for path in [*readers, *(ROOT / "cot_rm" / f"{name}.py" for name in ("command_line", "main"))]:
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Attribute):
        words.add(node.attr)
      elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        words.add(node.value)
  base = load("base")
  knobs = [(name, name) for name in base if not isinstance(base[name], ConfigDict)]
  knobs += [
    (knob, f"{path}.{knob}")
    for path, section in sections(base)
    if SECTIONS.get(path) == STAGE and path != "rl.settings"  # keyed by rl.algorithm
    for knob in section
  ]
  unread = [f"config.{path}" for knob, path in knobs if knob not in words]
  assert not unread, unread


def read_flags(name, preset, *knobs):
  """The config as the program's flag parser makes it."""
  config = f"--config={ROOT}/configs/{name}.py{''.join(f':{value}' for value in preset)}"
  argv = ["main", config, *knobs]
  rest, nones = command_line.split_nones(argv)
  rest, keys = command_line.split_table_keys(rest)
  values = flags.FlagValues()
  holder = config_flags.DEFINE_config_file(
    "config", None, "", flag_values=values, sys_argv=rest, lock_config=True
  )
  values(rest)
  command_line.set_nones(holder.value, nones)
  command_line.set_table_keys(holder.value, keys)
  return holder.value


def leaves(config, path=()):
  """(path, value, type) of each knob."""
  for name in config:
    if isinstance(config[name], ConfigDict):
      yield from leaves(config[name], (*path, name))
    else:
      yield (*path, name), config[name], config.get_type(name)


def other_value(value, kind):
  """(text on the command line, value) that differ from a knob's value."""
  if kind is bool:
    return str(not value), not value
  if kind in (int, float):
    made = kind((value or 0) + 3)
    return str(made), made
  if kind is str:
    return f"{value or ''}x", f"{value or ''}x"
  if kind is tuple:
    made = (*value, *(value[-1:] or ("x",)))
    return repr(made), made
  if kind is object:
    return '("data", "tensor")', ("data", "tensor")
  assert kind is ConfigDict, kind
  return '{"data": 2}', ConfigDict({"data": 2})


@pytest.mark.parametrize("name, preset", PRESETS)
def test_every_knob_can_be_set_on_the_command_line(name, preset):
  knobs = {path: other_value(value, kind) for path, value, kind in leaves(load(name, *preset))}
  given = [f"--config.{'.'.join(path)}={text}" for path, (text, _) in knobs.items()]
  config = read_flags(name, preset, *given)
  for path, (_, value) in knobs.items():
    found = functools.reduce(lambda section, key: section[key], path, config)
    assert found == value and type(found) is type(value), path


@pytest.mark.parametrize("name, preset", PRESETS)
def test_every_knob_that_may_be_none_can_be_set_to_it(name, preset):
  loaded = load(name, *preset)
  may = []
  for path, value, _ in leaves(loaded):
    section = functools.reduce(lambda section, key: section[key], path[:-1], loaded)
    if getattr(section.get_ref(path[-1]), "nullable", False):
      may.append(path)
    assert value is not None or path in may, f"config.{'.'.join(path)}: see base.optional"
  config = read_flags(name, preset, *(f"--config.{'.'.join(path)}=None" for path in may))
  for path in may:
    assert functools.reduce(lambda section, key: section[key], path, config) is None, path


def test_a_comment_that_names_none_is_of_a_knob_that_may_be_none():
  lines = (ROOT / "configs" / "base.py").read_text().splitlines()
  bad = [
    line for line in lines if re.match(r"\s+\w+=.*#.*\bNone:", line) and "optional" not in line
  ]
  assert not [line for line in bad if "c.processor = dict(" not in line]


def test_the_last_value_of_a_knob_holds():
  knob = "--config.rl.max_pixels"
  assert read_flags("rl", (), f"{knob}=3", f"{knob}=None").rl.max_pixels is None
  assert read_flags("rl", (), f"{knob}=None", f"{knob}=3").rl.max_pixels == 3


def test_none_is_no_value_of_a_number_that_must_be_given():
  with pytest.raises(ValueError, match="config.sft.steps=None: this knob is .* cannot be None"):
    read_flags("sft", (), "--config.sft.steps=None")
  assert read_flags("sft", (), "--config.sft.start=None ").sft.start == "None "


def test_a_table_of_free_keys_is_set_as_a_whole():
  config = read_flags("rl", (), '--config.rl.rewards={"accuracy": 1.0, "swap": 0.5}')
  assert config.rl.rewards.to_dict() == {"accuracy": 1.0, "swap": 0.5}


def test_one_key_of_a_table_is_set_or_added_alone():
  keys = ["--config.rl.rewards.swap=0.5", "--config.rl.rewards.format=2", "--config.rl.group=4"]
  config = read_flags("rl", (), *keys)
  assert config.rl.rewards.to_dict() == {"accuracy": 1.0, "format": 2.0, "swap": 0.5}
  assert config.rl.group == 4
  config = read_flags("tiny", (), "--config.world.sizes.extra=7")
  assert config.world.sizes.extra == 7 and config.world.sizes.heldout == 1300


def test_sections_take_no_other_knobs_but_for_the_tables_of_free_keys():
  config = load("base")
  free = {path for path, section in sections(config) if not section.is_locked}
  assert free - {""} == {"rl.rewards", "world.sizes"}
  assert (
    {path.rpartition(".")[2] for path in free - {""}}
    == set(command_line.TABLES)
    == set(importlib.import_module("configs.base").FREE_TABLES)
  )


def test_a_knob_that_is_none_is_followed_by_the_sections_that_inherit_it():
  knobs = ["--config.rl.max_pixels=77", "--config.rl.correction.cap=2"]
  config = read_flags("consistency_ablation", (), *knobs)
  assert (config.rl_consistency.max_pixels, config.rl_consistency.correction.cap) == (77, 2.0)
  config = read_flags("consistency_ablation", (), *knobs, "--config.rl_consistency.max_pixels=None")
  assert (config.rl.max_pixels, config.rl_consistency.max_pixels) == (77, None)


@pytest.mark.slow
@pytest.mark.parametrize("knob, rc", [("rl.max_pixels=None", 0), ("seed=None", 1)])
def test_the_program_takes_none_for_a_knob_that_may_be_none(knob, rc):
  argv = ["--config", "configs/rl.py", "--config.stages=", f"--config.{knob}"]
  code = (
    "from cot_rm import command_line as c; import sys; c.parse(sys.argv); print(c.CONFIG.value.rl)"
  )
  done = subprocess.run(
    [sys.executable, "-c", code, *argv], cwd=ROOT, capture_output=True, text=True, check=False
  )
  assert done.returncode == rc and "Traceback" not in done.stderr
  assert ("max_pixels: null" in done.stdout) if not rc else ("--config.seed=None" in done.stderr)


def test_a_knob_named_in_a_message_exists():
  base, named, bad = load("base"), 0, []
  for path in sorted((ROOT / "cot_rm").rglob("*.py")):
    for node in ast.walk(ast.parse(path.read_text())):
      if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        continue
      for knob in re.findall(r"\bconfig\.((?:\w+\.)*\w+)", node.value):
        if knob.split(".")[0] in ("json", "py", "any"):  # config.json, --config.any.knob
          continue
        named += 1
        found = base
        knob = re.sub(r"^import\b", "importing", knob)  # as the command line has it
        for name in knob.split("."):
          found = found[name] if isinstance(found, ConfigDict) and name in found else bad
        if found is bad:
          bad.append(f"{path.relative_to(ROOT)}: config.{knob}")
  assert not bad, "\n".join(bad)
  assert named > 10


@pytest.mark.parametrize(
  "flag, hint",
  [
    pytest.param(
      "--config.sed=1",
      "the config has no 'sed'. Did you mean \"seed\"",
      marks=pytest.mark.slow,
    ),
    ("--config.sft.optim.lrr=1", "the config has no 'lrr'. Did you mean \"lr\""),
  ],
)
def test_an_unknown_knob_fails_with_a_suggestion(flag, hint):
  done = subprocess.run(
    [sys.executable, "-m", "cot_rm.main", "--config", "configs/tiny.py", flag],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 1
  assert hint in done.stderr and "Traceback" not in done.stderr
