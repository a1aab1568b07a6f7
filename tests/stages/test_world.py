"""The world stage leaves a data set, a tokenizer and a model that the others start from."""

import shutil

import cot_rm
from cot_rm.data import datasets
from cot_rm.stages import world


def test_the_world_writes_splits_a_tokenizer_and_a_model(trained, config):
  for split, count in config.world.sizes.items():
    examples = datasets.open(trained / "world" / "data", split)
    assert len(examples) == count
    # What RL and the scoring see holds no reference to copy from.
    assert all(bool(e.reasoning) == (split == "references") for e in examples)
    assert all(e.gold in (1, 2) and e.extra["scene"] for e in examples)
  judge = cot_rm.load(trained / "world" / "model")
  assert judge.processor.vocab_size == judge.opened.config.vocab_size
  references = datasets.open(trained / "world" / "data", "references")
  lengths = [len(judge.processor.encode(e.reasoning)) for e in references]
  assert 10 < max(lengths) <= 54  # a phrase of the grammar is one token


def test_an_interrupted_world_continues_to_the_same_model(workdir, trained, config, same):
  shutil.rmtree(workdir / "world" / "model")
  info = workdir / "world" / "data" / "dataset_info.json"
  before = info.stat().mtime
  world.run(config, workdir, "world")
  assert info.stat().mtime == before  # the data were whole and stayed
  same(workdir / "world" / "model", trained / "world" / "model")


def test_no_example_of_one_split_is_in_another(trained, config):
  seen = {}
  for split in config.world.sizes:
    for e in datasets.open(trained / "world" / "data", split):
      assert seen.setdefault(e.id, split) == split
  assert len(seen) == sum(config.world.sizes.values())
