"""Every knob once, its default and what it means. An experiment is this and assignments.

A section holds the keyword arguments of one function (the name in brackets), so that a misspelt
knob is an error when the program starts.

An entry of `stages` is "stage", or "folder:stage" for a stage that runs more than once. The stage
reads the section of its folder's name where the config has one (`c.sft2 = inherit(c.sft)` for
"sft2:sft"), and otherwise the section of the stage.
"""

from ml_collections import ConfigDict, FieldReference

# How a service is asked, and what it may cost: 0 is no bound; prices are of a million tokens.
CALLS = dict(
  key="OPENAI_API_KEY",
  concurrency=16,
  retries=5,
  request_timeout=120.0,
  timeout=400.0,
  limit_field="max_tokens",
)
BUDGET = dict(calls=0, tokens=0, dollars=0.0, prompt_price=0.0, completion_price=0.0)


def known(preset, presets, config):
  """Raises ValueError, naming those there are, where a config has no such preset."""
  if preset not in presets:
    raise ValueError(f"{config} has no preset {preset!r}. Known: {', '.join(presets)}")


def inherit(section):
  """A section in which each knob has the value of the same knob of `section` until it is set.

  The value follows `section` until then, from the command line too. A knob that is None has the
  value None.
  """
  out = ConfigDict()
  for name, value in section.items():
    if isinstance(value, ConfigDict):
      out[name] = inherit(value)
    else:
      out[name] = None if value is None else FieldReference(section.get_ref(name))
  return out


def get_config():
  c = ConfigDict()
  c.stages = ("sft", "rl", "eval")  # what to run, in order; "folder:stage" runs it in a folder
  c.control = False  # run the stages that are a control, too (see sft.control)
  c.seed = 0
  c.compile_cache = "~/.cache/cot_rm/xla"  # compiled programs are kept here; "" keeps none
  # Devices that jax makes of a CPU; 0: as the environment has it. Small operations gain nothing
  # from a second core, but a device for each core works on its own share of a batch.
  c.cpu_devices = 0

  # Where arrays live. A rule maps a logical axis of a parameter or an activation to a mesh axis.
  c.mesh = ConfigDict(
    dict(
      shape=dict(data=1, fsdp=-1, tensor=1),  # devices an axis; -1 takes what is left
      sample_shape=None,  # of the sampler's mesh; None: the same
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
      dtype="float32",  # of parameters
      compute_dtype=None,  # of matrix products and activations; None: as the parameters
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

  # What the sampler holds at a time [Room].
  c.sampler = ConfigDict(
    dict(
      together=0,  # samples of a prompt that are made at a time, at most; 0: all
      chunk=16,  # tokens between two looks at what has ended
      piece=2048,  # positions of prompts that go through the model at a time; 0: all
      memory=0,  # bytes of keys and values, at most; 0: what `rows` prompts take
      spare=0.5,  # prompts that are held until slots are free, a share of those being answered
      weights="",  # kept as "bfloat16", or "int8" in the decoder; "": as they are trained
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
      shapes=dict(
        side=84,  # pixels a side of a picture
        objects=(1, 2),  # fewest and most objects in a picture
        frames=4,  # of a video
        frame_side=56,  # pixels a side of a frame
        image_understanding=0.4,  # weights of the tasks
        image_generation=0.4,
        video_understanding=0.1,
        video_generation=0.1,
      ),  # [toy_world.world.World]
      sizes=dict(references=2000, train=8000, check=64, heldout=1000),  # examples a split
    )
  )

  c.distill = ConfigDict(
    dict(  # judgements of labelled pairs by a teacher; kept where they come to the label
      data="",
      split="train",
      count=1000,  # pairs, at random; 0: all
      tasks="",  # those that are asked, with commas; "": all
      attempts=3,  # at a pair; how many it took is its difficulty
      unanswered=0,  # pairs that may be left out because their calls failed
      model="",  # the service's name for it
      cache="",  # the file of answers; "": calls.sqlite in the stage's folder
      # "": the built-in teacher, for the built-in world, without any network
      endpoint=dict(base_url="", **CALLS),  # [chat.Endpoint]
      sampling=dict(temperature=1.0, max_tokens=4096, seed=0),  # [chat.Sampling]
      pictures=dict(quality=95, max_pixels=501_760, max_frames=8),  # [chat.Pictures]
      budget=dict(BUDGET),  # [chat.Budget]
      teacher=dict(
        error=0.1, per_object=0.1, relation=0.15, unparsable=0.03, contradicting=0.0, seed=0
      ),  # the built-in one [toy_world.teacher.Teacher]
    )
  )

  # Stages name what they start from and what they read: a stage's folder in the workdir, or a path;
  # and the split of that folder, or several ("kept+failed").
  c.sft = ConfigDict(
    dict(
      start="",
      data="",
      split="train",
      steps=1000,
      # With steps=0 the number of steps follows from time: as many steps as fit into the seconds
      # that the stages `minutes_of` (with commas between) took, at the speed of the SFT `speed_of`.
      minutes_of="",
      speed_of="sft",
      control=False,  # this SFT is a control of RL: it runs only where config.control is set
      rows=8,  # packed rows a step, of each process
      examples=0,  # references in them, at most; 0: as many as find room
      accumulate=1,  # slices in which they go through the model
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
        muon=0.0,
        frozen=(),
      ),  # [optim.make]
    )
  )

  c.rl = ConfigDict(
    dict(
      start="sft",
      data="",
      split="train",
      algorithm="grpo",
      settings=dict(  # of each algorithm, its Config; max_tokens is that of `sampling`
        grpo=dict(
          clip_low=0.2,
          clip_high=0.2,
          kl=0.04,
          kl_clamp=10.0,
          ratio="token",
          normalize="std",
          epsilon=1e-4,
          aggregate="sequence",
          buffer=0,
        ),
        rloo=dict(clip_low=0.2, clip_high=0.2, kl=0.0, aggregate="sequence"),
        reinforce_pp=dict(
          clip_low=0.2,
          clip_high=0.2,
          kl=0.0,
          reward_bound=10.0,
          epsilon=1e-8,
          aggregate="sequence",
        ),
        stable_reinforce=dict(
          clip_low=0.2,
          clip_high=0.2,
          preclip_low=1e-3,
          preclip_high=1e3,
          filter="paper",
          filter_bound=3.0,
          kl=0.0,
          reward_bound=10.0,
          epsilon=1e-8,
          aggregate="sequence",
        ),
      ),
      correction=dict(cap=None, low=None, high=None),  # [importance_correction.Config]
      rewards=dict(format=1.0, accuracy=1.0),  # weights of rewards.REWARDS and PRODUCTS
      judge=dict(
        by="",  # who is asked whether a verdict follows: "service", "policy", or "": nobody
        model="",  # the service's name for it
        sampling=dict(temperature=0.1, max_tokens=4096, seed=None),  # [chat.Sampling]
        endpoint=dict(base_url="http://127.0.0.1:8000/v1", **CALLS),  # [chat.Endpoint]
        budget=dict(BUDGET),  # [chat.Budget]
      ),
      tasks="",  # those that are asked, with commas; "": all
      min_attempts=0,  # only pairs that took the teacher at least this many attempts; 0: all
      order="shuffled",  # of the pairs; "ascending": by the teacher's attempts, easy pairs first
      rollouts=500,
      max_pixels=None,  # of a picture, in this stage alone; None: as config.processor has it
      prompts=16,  # a rollout; with the reward "swap" half of them are the other half, swapped
      max_prompts=0,  # prompts that are answered at a time, at most; 0: all of a rollout
      group=8,  # samples per prompt
      # Groups whose rewards are all equal: train on them ("keep"), leave them out ("drop"), or
      # leave them out and sample other prompts ("resample").
      zero_variance="drop",
      max_resample_rounds=3,  # rounds of sampling a rollout, at most, with "resample"
      train_prompts=16,  # groups of a rollout that are trained on, at most
      minibatches=1,  # of these groups; an optimizer step each
      epochs=1,  # passes over a rollout
      accumulate=1,  # microbatches of a step that go through the model one after the other
      on_nonfinite="raise",  # a loss that is not finite raises; "end": the stage ends and saves
      # 1: the next rollout is sampled while this one is judged and trained on, with weights from
      # before its updates. One process only.
      async_rollouts=0,
      sampling=dict(temperature=1.0, top_p=1.0, top_k=0, max_tokens=2048),  # [Sampling]
      eval_every=50,
      save_every=50,
      samples_every=50,
      vision_check_every=50,  # rollouts; compares with the log-probabilities of blank pictures
      optim=dict(
        lr=1e-6,
        warmup=10,
        decay=0.5,
        final=0.0,
        clip=1.0,
        weight_decay=0.0,
        b1=0.9,
        b2=0.98,
        muon=0.0,
        frozen=("visual",),
      ),  # [optim.make]
    )
  )

  c.eval = ConfigDict(
    dict(
      models="sft,rl",  # models that are scored: folders of stages, or paths
      benchmark="pairs",  # of benchmarks.BENCHMARKS: "pairs" of any data, or a public one, whole
      mode="both",  # of the benchmark's MODES: "both" orders, "first", or as a paper evaluates
      data="",  # pairs, or the folder with the files of the benchmark's owners
      split="heldout",
      pairs=1000,  # of the split
      blank_pairs=128,  # of them asked again with blank pictures
      val_split="check",  # of `data`: the validation pairs, judged during training
      val_pairs=64,  # number of validation pairs
      votes=0,  # samples of each answer that vote; 0: none do
      vote_temperature=1.0,
      vote_pairs=0,  # of the pairs; 0: all
      vote_at=(1, 5, 15),  # votes that are counted at, those up to `votes`
      samples=12,  # judgements kept for the report, the first ones
      best=6,  # and of the others the surest right ones,
      worst=6,  # and the surest wrong ones
      max_prompts=16,  # prompts that are answered at the same time, at most
      max_tokens=2048,
    )
  )

  c.reject = ConfigDict(
    dict(
      start="sft",
      data="",
      split="train",
      count=0,  # pairs, at random; 0: all
      tasks="",  # those that are sampled, with commas; "": all
      samples=1,  # of each pair
      keep=1,  # right ones of a pair that are kept, at most
      accept=("accuracy",),  # rewards that have to be 1 for a sample to be right
      max_prompts=16,  # prompts that are answered at the same time, at most
      sampling=dict(temperature=1.0, top_p=1.0, top_k=0, max_tokens=2048),  # [Sampling]
    )
  )

  c.judge = ConfigDict(
    dict(
      start="",  # the model; see above
      input="",  # JSONL of pairs
      votes=1,  # judgements per order; more than one wants a temperature
      both_orders=True,
      vote_stop=False,  # leave out votes that can no longer change a majority
      temperature=0.0,
      max_tokens=2048,
      max_prompts=8,  # pairs in a batch, and prompts that are answered at the same time, at most
    )
  )
  return c
