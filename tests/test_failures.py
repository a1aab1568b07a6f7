"""An error of a user's making is its words alone; a fault of the program keeps its traceback."""

import json

import pytest

from cot_rm import chat, failures, registry
from tests.programs import ROOT, run

SFT, TINY = str(ROOT / "configs" / "sft.py"), str(ROOT / "configs" / "tiny.py")


def caught(function, *arguments):
  try:
    function(*arguments)
  except Exception as error:
    return error


def test_what_this_package_raises_is_of_a_users_making():
  error = caught(registry.lookup, {"sft": 1}, "slt", "stage")
  assert failures.words(error) == str(error) != ""
  error = caught(chat.Endpoint, "api.example.org")
  assert "must begin with http" in failures.words(error)


def test_a_missing_file_is_named_with_the_systems_words(tmp_path):
  path = tmp_path / "no.jsonl"
  assert failures.words(caught(open, path)) == f"{path}: No such file or directory"


@pytest.mark.parametrize(
  "function", [lambda: int("x"), lambda: {}["a"], lambda: [].index(1), lambda: 1 / 0]
)
def test_a_fault_of_the_program_has_no_words(function):
  assert failures.words(caught(function)) is None


def test_a_value_error_from_inside_a_library_is_no_users_fault():
  assert failures.words(caught(registry.hint, "a", 3)) is None


def test_the_traceback_is_kept_in_the_workdir_if_there_is_one(tmp_path, capsys):
  error = caught(registry.lookup, {}, "slt", "stage")
  failures.say("these words", error, folder=tmp_path)
  assert "Traceback" in (tmp_path / "error.txt").read_text()
  failures.say("and these", error, folder=tmp_path / "none")
  said = capsys.readouterr().err
  assert said == f"these words\n(the traceback is in {tmp_path}/error.txt)\nand these\n"


START = "from configs import base\ndef get_config():\n  c = base.get_config()\n"
END = "  return c\n"
CONFIGS = {
  "syntax.py": "from configs import base\ndef get_config():\n  return base.get_config(\n",
  "name.py": "def get_config():\n  return undefined_name\n",
  "knob.py": "from configs import base\n\ndef get_config():\n"
  "  c = base.get_config()\n  c.rl.groop.x = 1\n  return c\n",
  "imports.py": "from configs import bse\n\ndef get_config():\n  return 1\n",
  "empty.py": "x = 1\n",
  "type.py": START + "  c.sft.steps = 'many'\n" + END,
  "stepz.py": START + "  c.sft.stepz = 3\n" + END,
  "table.py": START + "  c.rl.settings.grpo.update(klamp=1)\n" + END,
  "copied.py": START + "  c.sft2 = base.inherit(c.sft)\n  c.sft2.optim.lrr = 1.0\n" + END,
  "top.py": START + "  c.grammer = 'think'\n" + END,
  "import.py": START + "  c['import'] = dict(val=0.1)\n" + END,
  "nothing.py": START,
  "dict.py": "def get_config():\n  return {'seed': 1}\n",
  "preset.py": START + END,
}
GIVEN = ("--config.sft.start=none/such", "--config.sft.data=no.jsonl", "--config.eval.data=e")


CASES = [
  (("--config=type.py",), "type.py, line 4: TypeError: Could not override field 'steps'"),
  (("--config=stepz.py",), "line 4: AttributeError: this section has no 'stepz'. Did you mean \"s"),
  (("--config=table.py",), "table.py, line 4: KeyError: this section has no 'klamp'"),
  (("--config=copied.py",), "copied.py, line 5: AttributeError: this section has no 'lrr'"),
  (("--config=top.py",), "top.py: config.grammer: there is no such knob; did you mean 'grammar'?"),
  (("--config=import.py",), "the section of the stage 'import' is config.importing"),
  (("--config=nothing.py",), "its get_config() returned nothing and no ConfigDict"),
  (("--config=dict.py",), "its get_config() returned a dict and no ConfigDict"),
  (("--config=preset.py:smoke",), "preset.py: get_config() takes 0 positional arguments"),
  (("--config=.",), ". is a folder and no config file"),
  ((f"--config={TINY}", "--config.seed=-1"), "config.seed is -1; it must be from 0 to"),
  ((f"--config={TINY}", "--config.rl.rewardz.swap=1"), "the config has no 'rewardz'"),
  ((f"--config={TINY}", "--config.rll.rewards.swap=1"), "has no 'rll'; did you mean 'rl'?"),
  ((f"--config={TINY}", "--config.rl.rewards.swap=x"), "swap=x: 'x' is not a number"),
  ((f"--config={TINY}", "--config.world.sizes.more=1.5"), "'1.5' is not a whole number"),
  ((f"--config={TINY}", "--config.rl.rewards.swap=None"), "the config has no 'swap'"),
  (("--config=nope.py",), "there is no config file 'nope.py'"),
  (("--config=syntax.py",), "syntax.py, line 3: '(' was never closed"),
  (("--config=name.py",), "name.py, line 2: NameError: name 'undefined_name' is not defined"),
  (("--config", "knob.py"), "knob.py, line 5: AttributeError"),
  (("--config=imports.py",), "imports.py, line 1: ImportError"),
  (("--config=empty.py",), "empty.py: no experiment: it has no function get_config()"),
  ((f"--config={TINY}:smok",), "has no preset 'smok'. Known: full, smoke"),
  ((f"--config={TINY}", "--config.seed=abc"), "'abc' is not a whole number; it is 0 now"),
  ((f"--config={TINY}", "--config.rl.group=1.5"), "--config.rl.group=1.5: '1.5' is not a whole"),
  ((f"--config={TINY}", "--config.rl.optim.lr=fast"), "'fast' is not a number"),
  ((f"--config={TINY}", "--config.rl.groop=1"), "the config has no 'groop'"),
  ((f"--config={TINY}", "--confg.seed=1"), "--confg.seed: no such flag. "),
  ((f"--config={TINY}", "--config.stages=slt"), "unknown stage 'slt'; did you mean 'sft'?"),
  ((f"--config={SFT}", *GIVEN), "sft: config.sft.start is 'none/such': no folder none/such"),
  ((f"--config={SFT}",), "sft: config.sft.data is empty"),
]
# One process imports the program and runs each command line in a fork.
FORKS = """
import json, os, sys, time
from cot_rm import main
for number, flags in enumerate(json.loads(sys.argv[1])):
  if not (child := os.fork()):
    out = os.open(f"said.{number}", os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1), os.dup2(out, 2)
    sys.argv[1:] = flags
    try:
      main.start()
    except SystemExit as ended:
      os._exit(ended.code)
  print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
  """What the program says to each command line of CASES, and its exit code."""
  folder = tmp_path_factory.mktemp("failures")
  for name, text in CONFIGS.items():
    (folder / name).write_text(text)
  done = run(folder, json.dumps([flags for flags, _ in CASES]), code=FORKS)
  codes = [int(line) for line in done.stdout.split()]
  return [(code, (folder / f"said.{i}").read_text()) for i, code in enumerate(codes)]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[words for _, words in CASES])
def test_a_users_error_is_its_words_and_exit_code_1(said, number):
  code, text = said[number]
  assert code == 1
  assert CASES[number][1] in text
  assert "Traceback" not in text


def test_the_flag_traceback_shows_it(tmp_path):
  done = run(tmp_path, f"--config={TINY}", "--config.stages=slt", "--traceback")
  assert done.returncode == 1 and "Traceback" in done.stderr


def test_a_fault_of_the_program_keeps_its_traceback(tmp_path):
  code = (
    "from cot_rm import main\n"
    "def fails(*_, **__): return {}['surprise']\n"
    "main.run = fails\n"
    "main.start()"
  )
  done = run(tmp_path, f"--config={TINY}", code=code)
  assert done.returncode == 1 and "Traceback" in done.stderr and "surprise" in done.stderr
