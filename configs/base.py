"""Every knob once, its default and what it means. An experiment is this and assignments.

A section is the keyword arguments of one function (the name in brackets), so that a misspelt knob
is an error where the program starts.
"""

from ml_collections import ConfigDict


def get_config():
  c = ConfigDict()
  c.stages = ("sft", "rl", "eval")  # what to run, in order; "folder:stage" gives it another folder
  c.seed = 0
  c.compile_cache = "~/.cache/cot_rm/xla"  # compiled programs are kept here; "" keeps none

  # Where arrays live. A rule maps a logical axis of a parameter or an activation to a mesh axis.
  c.mesh = ConfigDict(
    dict(
      shape=dict(data=1, fsdp=-1, tensor=1),  # devices an axis; -1 takes what is left
      train_rules=dict(
        batch=("data", "fsdp"),
        embed="fsdp",
        vocab="tensor",
        heads="tensor",
        kv_heads="tensor",
        mlp="tensor",
      ),
      sample_rules=dict(
        batch=("data", "fsdp"),
        embed="fsdp",
        vocab="tensor",
        heads="tensor",
        kv_heads="tensor",
        mlp="tensor",
      ),
    )
  )

  # How a stage opens its model [judge.load].
  c.model = ConfigDict(
    dict(
      dtype="float32",  # of parameters and matrix products
      remat=False,  # compute activations again in the backward pass instead of keeping them
    )
  )

  # Pictures and video [Processor.load]; None takes what the checkpoint says.
  c.processor = ConfigDict(
    dict(
      min_pixels=None,
      max_pixels=None,
      fps=None,
      max_frames=None,
      mrope="hf4",  # positions of video: as transformers 4 ("hf4") or 5 ("hf5") count them
    )
  )

  # The shapes that batches may have: a row is padded to the smallest that holds it [Buckets].
  c.buckets = ConfigDict(
    dict(
      tokens=(512, 1024, 2048, 4096),  # prompt and answer
      patches=(1024, 2048, 4096, 8192),  # 4 patches make a visual token
      answers=(512, 1024, 2048),  # an answer, where a group of them shares its prompt
    )
  )

  c.grammar = "think"  # of prompts.PROMPTS

  c.port = ConfigDict(
    dict(
      source="",  # a Hugging Face folder or hub id; for target "hf" a model folder of ours
      target="orbax",  # what to write: "orbax", a model folder of ours, or "hf", the way back
      dtype="bfloat16",  # of the parameters as written
    )
  )

  c.world = ConfigDict(
    dict(  # the built-in preference world
      family="qwen2_5_vl",
      preset="tiny",  # the random model that it makes
      vocab_size=512,  # of the tokenizer that it trains
      corpus=4000,  # examples that the tokenizer is trained on
      shapes=dict(),  # [shapes.World]
      sizes=dict(references=2000, train=8000, check=64, heldout=1000),  # examples a split
    )
  )

  # Stages name what they start from and what they read: a stage's folder in the workdir, or a path.
  c.sft = ConfigDict(
    dict(
      start="",
      data="",
      split="train",
      steps=1000,
      minutes_of="",  # where steps is 0: as many as fit into the minutes that this stage took
      rows=8,  # packed rows a step
      eval_every=250,
      save_every=250,
      optim=dict(
        lr=1e-5,
        warmup=30,
        decay=0.5,
        final=0.0,
        clip=1.0,
        weight_decay=0.0,
        b1=0.9,
        b2=0.98,
        frozen=(),
      ),  # [optim.make]
    )
  )
  c.control = ""  # "sft": beside RL, its control: the same minutes of further SFT
  c.more = c.sft.copy_and_resolve_references()  # the control's own knobs

  c.rl = ConfigDict(
    dict(
      start="sft",
      data="",
      split="train",
      algorithm="grpo",
      settings=dict(clip=0.2, kl=0.04, kl_clamp=10.0, epsilon=1e-4),  # the algorithm's Config
      rewards=dict(format=1.0, accuracy=1.0),  # weights of rewards.REWARDS
      steps=500,
      questions=16,  # rolled out a step
      group=8,  # samples per question
      train_questions=16,  # at most this many of them, those whose samples differ, are trained on
      sampling=dict(temperature=1.0, top_p=1.0, top_k=0, max_tokens=2048),  # [Sampling]
      eval_every=50,
      save_every=50,
      samples_every=50,
      optim=dict(
        lr=1e-6,
        warmup=10,
        decay=0.5,
        final=0.0,
        clip=1.0,
        weight_decay=0.0,
        b1=0.9,
        b2=0.98,
        frozen=("visual",),
      ),  # [optim.make]
    )
  )

  c.eval = ConfigDict(
    dict(
      models="sft,rl,control",  # whose models are scored: stages, where they left one, or paths
      data="",
      split="heldout",
      pairs=1000,  # of the split
      blank_pairs=128,  # of them asked again with blank pictures
      check="check",
      check_pairs=64,  # split and number of the pairs asked while training goes on
      samples=12,  # judgements kept for the report
      rows=16,  # prompts a call of the sampler
      max_tokens=2048,
    )
  )

  c.judge = ConfigDict(
    dict(
      start="",  # the model; see above
      input="",  # JSONL of pairs
      votes=1,  # judgements per order; more than one wants a temperature
      both_orders=True,
      temperature=0.0,
      max_tokens=2048,
      rows=8,  # pairs a batch, and prompts a call of the sampler
    )
  )
  return c
