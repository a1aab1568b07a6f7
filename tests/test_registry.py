"""Lookup by name: the entry, or an error that helps."""

import pytest

from cot_rm import registry

TABLE = {"sft": 1, "rl": 2, "eval": 3}


def test_a_known_name_gives_its_entry():
  assert registry.lookup(TABLE, "rl", "stage") == 2


def test_an_unknown_name_is_an_error_with_the_nearest_name_and_all_names():
  with pytest.raises(ValueError) as error:
    registry.lookup(TABLE, "evl", "stage")
  assert str(error.value) == "unknown stage 'evl'; did you mean 'eval'? known: sft, rl, eval"


def test_a_name_that_is_near_to_none_gets_no_suggestion():
  with pytest.raises(ValueError) as error:
    registry.lookup(TABLE, "xyzzy", "stage")
  assert str(error.value) == "unknown stage 'xyzzy'; known: sft, rl, eval"


def test_a_name_that_is_not_text_is_an_error_as_well():
  with pytest.raises(ValueError, match="unknown stage None; known: sft"):
    registry.lookup(TABLE, None, "stage")
