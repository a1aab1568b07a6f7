"""The vision check: how much the log-probabilities move when the pictures are blanked."""

import jax.numpy as jnp
import numpy as np
import pytest

from cot_rm import vision_check
from cot_rm.batch import Batch, Pictures


def batch(pictures=True):
  """Two answers to one prompt; of four tokens three count."""
  zeros = np.zeros((2, 2), np.int32)
  patches = Pictures(np.ones((1, 4, 3), np.float32), *[np.zeros((1, 4), np.int32)] * 3)
  prompts = Batch(zeros, zeros, zeros, zeros, zeros, pictures=patches if pictures else None)
  mask = np.array([[1, 1], [1, 0]], np.float32)
  return Batch(zeros, zeros, zeros, zeros, mask, prompts=prompts)


def reads(weight):
  """Log-probabilities that depend on the pictures by `weight`."""
  return lambda params, batch: jnp.full((2, 2), weight * batch.prompts.pictures.patches.mean())


def test_the_shift_is_the_mean_over_tokens_that_count():
  assert vision_check.logp_shift(reads(0.5), None, batch()) == pytest.approx(0.5)


def test_a_forward_pass_that_does_not_read_pictures_is_an_error():
  with pytest.raises(RuntimeError, match="blanking the pictures .* does not read them"):
    vision_check.logp_shift(reads(0.0), None, batch())


def test_a_batch_without_pictures_has_no_shift():
  assert np.isnan(vision_check.logp_shift(reads(1.0), None, batch(pictures=False)))
