"""Fixtures of the tests of checkpoints."""

import pytest
from flax import nnx

from cot_rm import sharding
from cot_rm.models import qwen2_5_vl
from tests.models.qwen2_5_vl import oracle


@pytest.fixture(scope="module")
def params():
  return nnx.state(qwen2_5_vl.Model(oracle.CONFIG, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def mesh():
  return sharding.make_mesh({"fsdp": 4, "tensor": 2})
