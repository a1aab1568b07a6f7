"""A judge is opened from a folder."""

import pytest

import cot_rm


def test_a_number_of_prompts_out_of_range_is_refused_by_its_name(tiny_folder):
  with pytest.raises(ValueError, match="^max_prompts is 0; it must be 1 or more"):
    cot_rm.load(tiny_folder, max_prompts=0)


@pytest.mark.parametrize("name", ["dtype", "compute_dtype"])
def test_an_unknown_dtype_is_refused_by_the_name_of_its_argument(tiny_folder, name):
  with pytest.raises(ValueError, match=f"^{name} is 'flot32'; did you mean 'float32'"):
    cot_rm.load(tiny_folder, **{name: "flot32"})
