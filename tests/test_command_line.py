"""Flags before they are parsed: values and keys that ml_collections does not take."""

import sys

import pytest

from configs import base
from cot_rm import command_line


def test_none_is_taken_from_knobs_alone_and_the_last_value_holds():
  argv = ["main", "--workdir=None", "--config.a.b=None", "--config.c=None", "-config.c=3"]
  rest, nones = command_line.split_nones(argv)
  assert rest == ["main", "--workdir=None", "-config.c=3"] and nones == ["a.b"]


def test_keys_of_tables_are_taken_out_of_any_section():
  argv = ["--config.rl2.rewards.swap=1", "--config.world.sizes.more=2", "--config.rl.group=3"]
  assert command_line.split_table_keys(argv) == (argv[2:], argv[:2])


def test_the_section_of_the_stage_import_has_a_name_that_python_can_read(monkeypatch):
  given = [
    "main",
    "--config.import.val=0.1",
    "--noconfig.import.needs_gold",
    "--config.importing.val=1",
  ]
  monkeypatch.setattr(sys, "argv", given)
  command_line.prepare()
  assert sys.argv == [
    "main",
    "--config.importing.val=0.1",
    "--noconfig.importing.needs_gold",
    "--config.importing.val=1",
  ]


@pytest.mark.parametrize(
  "found, words",
  [
    (None, "returned nothing and no ConfigDict"),
    ([1], "returned a list"),
  ],
)
def test_what_is_no_config_is_refused(found, words):
  with pytest.raises(ValueError, match=words):
    command_line.check_config(found)


def test_a_knob_that_nothing_reads_is_refused_with_the_nearest():
  config = base.get_config()
  command_line.check_config(config)
  config.grammer = "think"
  with pytest.raises(
    ValueError, match="config.grammer: there is no such knob; did you mean 'gramm"
  ):
    command_line.check_config(config)
