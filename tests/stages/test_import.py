"""From files as their owners publish them to trained models, by the commands that a user types."""

import io
import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from cot_rm import prompts, schema
from cot_rm.data import array_record

ROOT = pathlib.Path(__file__).resolve().parents[2]

# One small step of everything, at the lengths of the published prompts.
SMALL = """
  model.compute_dtype=float32 model.dtype=float32 sampler.weights= processor.max_pixels=3136
  buckets.tokens=(1024,2048) buckets.patches=(144,) buckets.answers=(8,)
  eval.val_pairs=1 eval.max_tokens=8 eval.max_prompts=2
  sft.steps=2 sft.rows=2 sft.examples=2 sft.accumulate=1 sft.eval_every=2 sft.save_every=2
  reject.max_prompts=2 reject.sampling.max_tokens=8
  rl.rollouts=2 rl.prompts=2 rl.train_prompts=2 rl.minibatches=1 rl.group=2 rl.accumulate=1
  rl.sampling.max_tokens=8 rl.eval_every=2 rl.save_every=2 rl.zero_variance=keep
""".split()


def picture(number, form="JPEG"):
  out = io.BytesIO()
  noise = np.random.default_rng(number).integers(0, 255, (40, 48, 3), np.uint8)
  Image.fromarray(noise).save(out, form)
  return out.getvalue()


def published_prompt(grammar, example):
  """The text of a prompt, as the data sets of both papers have it."""
  [turn] = prompts.get(grammar).render(example)
  return "".join(part["text"] for part in turn["content"] if part["type"] == "text")


def answers(number):
  return schema.Example(
    str(number),
    "",
    "image_understanding",
    f"How many boxes are in picture {number}?",
    media=(schema.Media("image", picture(number)),),
    responses=("one", "two"),
  )


def caption(number):
  media = [schema.Media("image", picture(2 * number + i)) for i in (0, 1)]
  return schema.Example(str(number), "", "image_generation", f"a box {number}", tuple(media))


def r1_reward(folder, count):
  """R1-Reward-RL: JSON lines, the chat as text, pictures under paths of the authors' machine."""
  (folder / "images").mkdir(parents=True)
  lines = []
  for number in range(count):
    (folder / f"images/{number}.jpg").write_bytes(picture(number))
    chat = [
      {
        "role": "user",
        "content": [
          {"type": "text", "text": published_prompt("r1_reward", answers(number))},
          {"type": "image", "image": f"/home/authors/data/images/{number}.jpg"},
        ],
      }
    ]
    answer = [f"<answer>{number % 2 + 1}</answer>"]
    question = answers(number).question
    lines.append({"message": json.dumps(chat), "question": question, "answer": answer})
  path = folder / "train.jsonl"
  path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
  return path


def unified_reward(folder, count, *, references):
  """UnifiedReward-Think: a JSON array, cold start with references or GRPO without."""
  (folder / "images").mkdir(parents=True)
  records = []
  for number in range(count):
    files = [f"images/{2 * number + i}.jpg" for i in (0, 1)]
    for i, file in enumerate(files):
      (folder / file).write_bytes(picture(2 * number + i))
    prompt, verdict = (
      published_prompt("think", caption(number)),
      f"Image {number % 2 + 1} is better",
    )
    if references:
      reference = reasoning(number) + f"\n<answer>{verdict}</answer>"
      turns = [("human", f"<image>\n<image>\n{prompt}"), ("gpt", reference)]
      chat = [{"from": who, "value": text} for who, text in turns]
      records.append({"conversations": chat, "images": files})
    else:
      records.append({"problem": prompt, "solution": verdict, "images": files})
  path = folder / "train_data.json"
  path.write_text(json.dumps(records))
  return path


def reasoning(number):
  scores = (9, 6) if number % 2 == 0 else (6, 9)
  lines = [
    f"{i}. {name}: Image 1 ({scores[0]}/10) - seen; Image 2 ({scores[1]}/10) - seen."
    for i, name in enumerate(("Semantic consistency", "Aesthetics", "Authenticity"), 1)
  ]
  sums = [f"Image {i}: {score}+{score}+{score}={3 * score}" for i, score in enumerate(scores, 1)]
  return "<think>\n" + "\n".join([*lines, "Total score:", *sums]) + "\n</think>"


def rlaif_v(folder, count):
  """RLAIF-V: parquet, pictures inside, the better answer named."""
  folder.mkdir(parents=True)
  rows = [
    {
      "ds_name": "RLAIF-V",
      "image": {"bytes": picture(number), "path": f"{number}.jpg"},
      "question": answers(number).question,
      "chosen": "There is one box.",
      "rejected": "There are three boxes.",
      "origin_dataset": "VQAv2",
      "origin_split": "{}",
      "idx": number,
      "image_path": f"{number}.jpg",
    }
    for number in range(count)
  ]
  parquet.write_table(pa.Table.from_pylist(rows), folder / "RLAIF-V-Dataset_000.parquet")
  return folder


@pytest.fixture(scope="module")
def command(tmp_path_factory):
  """`(config, workdir, *knobs)` runs the program as typed; returns its log."""
  cache = os.environ.get("COT_RM_TEST_CACHE") or tmp_path_factory.mktemp("programs")
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}

  def run(config, workdir, *knobs):
    flags = [f"--config.{knob}" for knob in (f"compile_cache={cache}", *knobs)]
    line = [sys.executable, "-m", "cot_rm.main", "--config", f"configs/{config}", *flags]
    done = subprocess.run(
      [*line, "--workdir", str(workdir)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr + done.stdout

  return run


@pytest.fixture(scope="module")
def tiny(command, tmp_path_factory):
  """The built-in model, small and untrained."""
  workdir = tmp_path_factory.mktemp("tiny")
  sizes = [f"world.sizes.{split}=4" for split in ("references", "train", "check", "heldout")]
  command("tiny_grpo.py:smoke", workdir, "stages=world", "world.corpus=100", *sizes)
  return workdir / "world/model"


def assert_trained(folder, steps):
  """The stage did its steps, with finite losses, and left a model."""
  lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  losses = {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}
  assert sorted(losses) == list(range(1, steps + 1))
  assert all(loss is not None and math.isfinite(loss) for loss in losses.values())
  assert json.loads((folder / "training.json").read_text())["steps"] == steps
  assert (folder / "model/cot_rm.json").exists()


@pytest.mark.slow
def test_rlaif_v_is_imported_and_trained_on_with_grpo(command, tiny, tmp_path):
  source = rlaif_v(tmp_path / "RLAIF-V", 8)
  log = command(
    "import.py",
    tmp_path / "data",
    f"import.source=rlaif_v:{source}",
    "import.val=2",
    f"import.start={tiny}",
  )
  assert "kept" in log
  data = tmp_path / "data/import/data"
  splits = {split: array_record.open(data, split) for split in ("train", "check")}
  assert {len(splits["train"]), len(splits["check"])} == {6, 2}
  assert all(isinstance(e.media[0].source, bytes) for split in splits.values() for e in split)
  command(
    "rl.py",
    tmp_path / "rl",
    *SMALL,
    "stages=rl",
    f"rl.start={tiny}",
    f"rl.data={data}",
    f"eval.data={data}",
  )
  assert_trained(tmp_path / "rl/rl", steps=2)


@pytest.mark.slow
def test_r1_rewards_own_data_runs_through_its_own_config(command, tiny, tmp_path):
  source = r1_reward(tmp_path / "R1-Reward-RL", 8)
  command(
    "r1_reward.py:released",
    tmp_path / "run",
    *SMALL,
    "stages=import,rl",
    f"import.source={source}",
    "import.val=2",
    f"rl.start={tiny}",
    "rl.data=import/data",
    "eval.data=import/data",
    "rl.judge.by=policy",
    "rl.judge.sampling.max_tokens=8",
  )
  assert_trained(tmp_path / "run/rl", steps=2)
  stored = array_record.open(tmp_path / "run/import/data", "train")
  assert {example.media[0].source for example in stored} <= {picture(n) for n in range(8)}


@pytest.mark.slow
def test_unified_rewards_own_data_runs_through_its_own_config(command, tiny, tmp_path):
  cold = unified_reward(tmp_path / "cold", 6, references=True)
  pool = unified_reward(tmp_path / "pool", 6, references=False)
  command("import.py", tmp_path / "cold start", f"import.source={cold}", "import.val=1")
  cold_start = tmp_path / "cold start/import/data"
  assert all(example.reasoning for example in array_record.open(cold_start, "train"))
  command(
    "unified_reward.py",
    tmp_path / "run",
    *SMALL,
    "stages=import,sft,reject,rl",
    f"import.source={pool}",
    "import.val=1",
    f"sft.start={tiny}",
    f"sft.data={cold_start}",
    "sft.split=train",
    "reject.data=import/data",
    "rl.start=sft",
    "rl.data=reject/data",
    "eval.data=import/data",
  )
  assert_trained(tmp_path / "run/sft", steps=2)
  assert_trained(tmp_path / "run/rl", steps=2)
  hard = array_record.open(tmp_path / "run/reject/data", "hard")
  assert len(hard) == 5  # a model that has learned nothing is never right


@pytest.mark.slow
def test_a_published_cold_start_is_learnt_from(command, tiny, tmp_path):
  source = unified_reward(tmp_path / "cold", 6, references=True)
  command("import.py", tmp_path / "data", f"import.source={source}", "import.val=2")
  data = tmp_path / "data/import/data"
  command(
    "sft.py",
    tmp_path / "run",
    *SMALL,
    "stages=sft",
    f"sft.start={tiny}",
    f"sft.data={data}",
    "sft.split=train",
    "grammar=think",
    f"eval.data={data}",
  )
  assert_trained(tmp_path / "run/sft", steps=2)
