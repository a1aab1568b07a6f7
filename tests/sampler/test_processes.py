"""Several processes sample together, each its own prompts, with the results of one alone."""

import dataclasses
import functools
import pickle
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx

from cot_rm import sharding
from cot_rm.data import packing
from cot_rm.models import qwen2_5_vl
from cot_rm.sampler import engine, limits, sampling
from tests import chats

BUCKETS = packing.Buckets(tokens=(16, 32), patches=(16, 48), answers=())
# The first has more prompts than the others, and one of a bucket that the others do not use.
PROMPTS = (
  [chats.encoded(i, *what) for i, what in enumerate([(9, (4,)), (7,), (20, (2, 5)), (8,)])],
  [chats.encoded(4, 6)],
  [],
)

PROCESS = """
import pickle
import sys
import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_default_matmul_precision", "highest")
rank, port, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=rank)
from tests.sampler import test_processes

with open(out, "wb") as file:
  pickle.dump(test_processes.sample_in_process(int(sys.argv[4])), file)
"""


def made():
  config = dataclasses.replace(qwen2_5_vl.PRESETS["tiny"], vocab_size=400)
  with jax.default_device(jax.local_devices()[0]):
    graphdef, params = nnx.split(qwen2_5_vl.Model(config, rngs=nnx.Rngs(0)))
  one = engine.Engine(
    graphdef,
    sampling.TokenIds((7,), (3, 4, 5, 6), (9,)),
    buckets=BUCKETS,
    pack=functools.partial(packing.prompts, buckets=BUCKETS),
    max_prompts=2,
    limits=limits.Limits(decode_chunk=4),
  )
  return one, jax.tree.map(np.asarray, params)


def sample(one, params, which):
  """[(tokens, log-probabilities, of label tokens, finish)] of each answer."""
  how = sampling.Sampling(temperature=1.0, max_tokens=12)
  seeds = range(10 * which, 10 * which + len(PROMPTS[which]))
  groups = one(params, PROMPTS[which], seeds, n=3, sampling=how)
  return [[(s.tokens, s.logps, s.label_logps, s.finish) for s in group] for group in groups]


def sample_in_process(which):
  """Samples of one of two processes, with a mesh of all their devices."""
  one, params = made()
  mesh = sharding.make_mesh({"data": 4})
  params = jax.device_put(params, jax.NamedSharding(mesh, jax.P()))
  with sharding.use(mesh, {}), pytest.raises(ValueError, match="1 shards for 2 processes"):
    sample(one, params, which)
  with sharding.use(mesh, {"batch": "data"}):
    return sample(one, params, which)


@pytest.mark.slow
@pytest.mark.parametrize("others", [1, 2])
def test_two_processes_sample_what_each_would_alone(tmp_path, others):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = str(free.getsockname()[1])
  work = (0, others)
  run = lambda rank: subprocess.Popen(
    [sys.executable, "-c", PROCESS, str(rank), port, str(tmp_path / str(rank)), str(work[rank])],
    stderr=subprocess.PIPE,
    text=True,
  )
  both = [run(0), run(1)]
  errors = [process.communicate(timeout=400)[1] for process in both]
  assert [process.returncode for process in both] == [0, 0], "\n".join(errors)
  for rank, which in enumerate(work):
    found = pickle.loads((tmp_path / str(rank)).read_bytes())
    assert [len(group) for group in found] == [3] * len(PROMPTS[which])
    for one, other in zip(sum(found, []), sum(sample(*made(), which), []), strict=True):
      np.testing.assert_array_equal(one[0], other[0])
      np.testing.assert_allclose(one[1], other[1], atol=2e-5)
      np.testing.assert_allclose(one[2], other[2], atol=2e-5)
      assert one[3] == other[3]
