"""A request whose parts do not fit together is refused."""

import numpy as np
import pytest

from cot_rm.sampler import sampling
from cot_rm.sampler.request import Request
from tests import chats

FITTING = dict(
  prompts=[chats.encoded(0, 5), chats.encoded(1, 6)],
  seeds=[1, 2],
  n=3,
  sampling=sampling.Sampling(temperature=0.0, max_tokens=64),
  token_limits=np.full((2, 3), 8),
)


@pytest.mark.parametrize(
  ("wrong", "message"),
  [
    (dict(n=0), "n is 0"),
    (dict(seeds=[1]), "1 seeds for 2 prompts"),
    (dict(token_limits=np.full((3, 2), 8)), r"\(3, 2\) for 2 prompts with 3 samples"),
    (dict(token_limits=np.full((2, 3), 65)), "token_limits are 65 to 65; they must be 1 to max"),
    (dict(token_limits=np.zeros((2, 3), int)), "token_limits are 0 to 0"),
  ],
)
def test_a_part_that_does_not_fit_is_named(wrong, message):
  Request(**FITTING)
  with pytest.raises(ValueError, match=message):
    Request(**FITTING | wrong)
