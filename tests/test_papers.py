"""What configs/r1_reward.py and configs/unified_reward.py say is what papers and scripts say.

Each row: a knob, its value in the paper, its value in the released scripts; NONE where that preset
does not run the stage. Where one of the two is silent, the other's is due.
"""

import pytest
from ml_collections import ConfigDict

from configs import r1_reward, unified_reward
from cot_rm import workdir

NONE = object()
BOTH = lambda value: (value, value)

R1_REWARD = {  # arXiv:2505.02835v2, section 5, and scripts/train.sh
  "grammar": BOTH("r1_reward"),
  "processor.min_pixels": BOTH(3_136),
  "processor.max_pixels": BOTH(501_760),
  "buckets.tokens": BOTH((1024, 2048, 4096, 20_480 + 1024)),
  "distill.count": (0, NONE),  # all of the 200k
  "distill.attempts": (3, NONE),
  "distill.model": ("gpt-4o-2024-08-06", NONE),
  "sft.start": ("Qwen/Qwen2.5-VL-7B-Instruct", NONE),
  "sft.data": ("distill/data", NONE),
  "sft.split": ("kept", NONE),
  "sft.optim.lr": (1e-5, NONE),
  "sft.examples": (256, NONE),
  "sft.rows": (256, NONE),  # so that these always find room
  "sft.steps": (-(-205_740 // 256), NONE),  # one epoch
  "rl.start": ("sft", "Qwen/Qwen2.5-VL-7B-Instruct"),
  "rl.data": ("distill/data", ""),
  "rl.split": ("kept+failed", "train"),
  "rl.min_attempts": (2, 0),
  "rl.algorithm": BOTH("stable_reinforce"),
  "rl.optim.lr": (1e-6, 3e-7),
  "rl.optim.final": BOTH(0.1),  # a cosine to a tenth after 3 %, of two updates a rollout
  "rl.optim.warmup": (int(0.03 * 2 * 337), int(0.03 * 2 * 67)),
  "rl.optim.decay": BOTH(0.97),
  "rl.optim.clip": BOTH(1.0),
  "rl.optim.b1": BOTH(0.9),
  "rl.optim.b2": BOTH(0.95),
  "rl.optim.weight_decay": BOTH(0.0),  # --l2 of the script's program
  "rl.optim.frozen": BOTH(()),  # --freeze_prefix: none
  "rl.rollouts": (5 * 17_261 // 256, 17_261 // 256),  # 5 epochs, 1 episode
  "rl.prompts": BOTH(256),
  "rl.train_prompts": BOTH(256),
  "rl.minibatches": BOTH(2),  # of 128
  "rl.epochs": BOTH(1),
  "rl.group": BOTH(1),
  "rl.zero_variance": BOTH("keep"),
  "rl.settings.stable_reinforce.kl": (0.0, 1e-3),
  "rl.settings.stable_reinforce.clip_low": BOTH(0.2),
  "rl.settings.stable_reinforce.clip_high": BOTH(0.2),
  "rl.settings.stable_reinforce.preclip_low": BOTH(1e-3),
  "rl.settings.stable_reinforce.preclip_high": BOTH(1e3),
  "rl.settings.stable_reinforce.filter": ("paper", "released"),
  "rl.settings.stable_reinforce.filter_bound": BOTH(3.0),
  "rl.settings.stable_reinforce.reward_bound": BOTH(10.0),
  "rl.settings.stable_reinforce.aggregate": BOTH("sequence"),
  "rl.rewards": (
    {"accuracy": 1.0, "consistency": 0.5, "format": 0.5},
    {"accuracy": 1.0, "consistency_released": 0.5, "format": 0.5},
  ),
  "rl.judge.by": BOTH("service"),
  "rl.judge.model": BOTH("Qwen/Qwen2.5-VL-7B-Instruct"),
  "rl.judge.sampling": BOTH({"temperature": 0.1, "max_tokens": 4096, "seed": None}),
  "rl.sampling": BOTH(
    {
      "temperature": 1.0,
      "top_p": 1.0,
      "top_k": 0,
      "max_tokens": 1024,
      "logps_temperature": None,
      "repetition_penalty": 1.0,
    }
  ),
  "rl.save_every": BOTH(25),
  "eval.max_tokens": BOTH(4096),
}

# arXiv:2505.03318v3; 0.cold_start.sh, 1.rejection_sampling.sh, qwen_grpo.sh
COLD, KEPT, HARD = 5_000, 72_500, 32_500  # the first is published, of the others their sum
UNIFIED_REWARD = {
  "grammar": BOTH("think"),
  "processor.min_pixels": BOTH(3_136),
  "processor.max_pixels": BOTH(512 * 512),
  "rl.max_pixels": (None, 147_456),
  "distill.count": BOTH(10_000),
  "distill.tasks": BOTH("image_generation"),
  "distill.attempts": BOTH(1),
  "distill.pictures.max_pixels": BOTH(89_478_485),  # the client shrinks none
  "sft.start": BOTH("CodeGoat24/UnifiedReward-qwen-7b"),
  "sft.data": BOTH("distill/data"),
  "sft.split": BOTH("kept"),
  "sft.optim.lr": BOTH(2.5e-6),
  "sft.optim.frozen": BOTH(("visual",)),
  "sft.optim.weight_decay": BOTH(0.0),
  "sft.optim.warmup": (int(0.3 * 117), int(0.03 * 117)),
  "sft.optim.decay": (0.7, 0.97),  # a cosine from there on
  "sft.examples": BOTH(128),
  "sft.steps": BOTH(3 * COLD // 128),
  "reject.samples": BOTH(1),
  "sft2.start": BOTH("sft"),
  "sft2.data": BOTH("reject/data"),
  "sft2.split": BOTH("kept"),
  "sft2.optim.lr": BOTH(2.5e-6),
  "sft2.optim.frozen": BOTH(("visual",)),
  "sft2.optim.warmup": (int(0.3 * 1699), int(0.03 * 1699)),
  "sft2.optim.decay": (0.7, 0.97),
  "sft2.examples": BOTH(128),
  "sft2.steps": BOTH(3 * KEPT // 128),
  "rl.start": BOTH("sft2"),
  "rl.data": BOTH("reject/data"),
  "rl.split": BOTH("hard"),
  "rl.algorithm": BOTH("grpo"),
  "rl.optim.lr": BOTH(1e-6),
  "rl.optim.frozen": BOTH(("visual",)),
  "rl.rollouts": (3 * HARD // 64, 2 * HARD // 64),
  "rl.prompts": BOTH(64),  # one a device, of 64
  "rl.train_prompts": BOTH(64),
  "rl.group": BOTH(8),
  "rl.minibatches": BOTH(1),
  "rl.epochs": BOTH(1),
  "rl.settings.grpo.kl": BOTH(0.04),
  "rl.settings.grpo.kl_clamp": (11.0, 10.0),
  "rl.settings.grpo.clip_low": BOTH(0.2),  # with one update the ratio is 1: nothing is clipped
  "rl.settings.grpo.clip_high": BOTH(0.2),
  "rl.settings.grpo.normalize": BOTH("std"),
  "rl.settings.grpo.epsilon": BOTH(1e-4),
  "rl.settings.grpo.aggregate": BOTH("sequence"),
  "rl.rewards": ({"format": 1.0, "accuracy": 1.0}, {"format": 1.0, "accuracy_published": 1.0}),
  "rl.sampling": (
    {
      "temperature": 1.0,
      "top_p": 1.0,
      "top_k": 0,
      "max_tokens": 2048,
      "logps_temperature": None,
      "repetition_penalty": 1.0,
    },
    {
      "temperature": 1.0,
      "top_p": 0.95,
      "top_k": 0,
      "max_tokens": 4096,
      "logps_temperature": None,
      "repetition_penalty": 1.0,
    },
  ),
  "eval.max_tokens": BOTH(4096),
}


@pytest.mark.parametrize("preset", ["paper", "released"])
@pytest.mark.parametrize(
  "config, table", [(r1_reward, R1_REWARD), (unified_reward, UNIFIED_REWARD)]
)
def test_each_number_is_the_papers_or_the_released_scripts(config, table, preset):
  config, wrong = config.get_config(preset), []
  for knob, values in table.items():
    due, found = values[preset == "released"], config
    for name in knob.split("."):
      found = found[name]
    found = found.to_dict() if isinstance(found, ConfigDict) else found
    close = pytest.approx(due) if isinstance(due, float) else due
    if due is NONE:
      assert knob.split(".")[0] not in workdir.entries(config.stages), knob
    elif found != close:
      wrong.append(f"config.{knob} is {found!r}, not {due!r}")
  assert not wrong, "\n".join(wrong)
