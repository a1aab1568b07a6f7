"""Every knob of a run, once: its default and its meaning. An experiment is this and assignments.

A section holds the keyword arguments of one function (the name in brackets), so that a misspelt
knob is an error when the program starts. Defaults are here alone; functions that are also for
library users (judge.load, chat, the sampler's limits, the built-in world) have equal ones.

An entry of `stages` is "stage", or "folder:stage" for a stage that runs more than once. The stage
reads the section of its folder's name where the config has one (`c.sft2 = inherit(c.sft)` for
"sft2:sft"), and otherwise the section of the stage.

Every knob can be set on the command line. A tuple or a table is written as Python:
--config.buckets.tokens="(512, 1024)" --config.rl.rewards='{"format": 0.5, "accuracy": 1.0}', one
key of a table, also a new one, by --config.rl.rewards.swap=0.5, and a knob that may be None is set
to it by --config.processor.max_pixels=None.

The knob `start` of a stage names the model from which it starts, `data` the examples that it reads:
the folder of an earlier stage ("sft", "distill/data"), a path, or a hub id. `split` is the split of
a folder of examples, or several splits ("kept+failed").
"""

from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict, FieldReference

CALLS = dict(  # how a service is called, but for its address
  key="OPENAI_API_KEY",  # environment variable that holds the key
  concurrency=16,  # most calls in flight
  retries=5,  # of a call after an error of the server or a lost connection
  request_timeout=120.0,  # seconds of one try
  timeout=400.0,  # seconds of a call with all its retries
  limit_field="max_tokens",  # request field of the token limit; or "max_completion_tokens"
)
BUDGET = dict(  # limits on all calls of a cache; 0: no limit
  calls=0,
  tokens=0,  # of prompts and completions together
  dollars=0.0,  # needs both prices
  prompt_price=0.0,  # dollars per million prompt tokens
  completion_price=0.0,  # dollars per million completion tokens
)

FREE_TABLES = ("rewards", "sizes")  # sections to which keys may be added


def check_preset(preset: str, presets: Iterable[str], file: str) -> None:
  """Raises ValueError, with the known presets, where a config file has no such preset."""
  if preset not in presets:
    raise ValueError(f"{file} has no preset {preset!r}. Known: {', '.join(presets)}")


class Optional(FieldReference):
  """A knob that may be None; the command line sets it to None, too: --config.rl.max_pixels=None."""

  nullable = True  # read by cot_rm.command_line


def optional(kind: type, default: Any = None) -> Optional:
  """A knob that is of the type `kind` or None. `object` stands for any Python literal."""
  return Optional(default, field_type=kind)


def follow(section: ConfigDict, knob: str) -> FieldReference:
  """A reference for another knob, which has the value of `knob` until it is set itself.

  The value follows `knob` until then, from the command line too.
  """
  other = section.get_ref(knob)
  return type(other)(other)


def inherit(section: ConfigDict) -> ConfigDict:
  """A section in which each knob follows the same knob of `section`, see `follow`."""
  out = ConfigDict()
  for name, value in section.items():
    if isinstance(value, ConfigDict):
      out[name] = inherit(value)
    else:
      out[name] = follow(section, name)
  if section.is_locked:
    _close(out)
  return out


def _close(section: ConfigDict) -> None:
  """Makes a knob that a section does not have an error, but in tables of free keys."""
  section.lock()
  for name, value in section.items():
    if isinstance(value, ConfigDict):
      if name in FREE_TABLES:
        value.unlock()
      else:
        _close(value)


def get_config() -> ConfigDict:
  """The config with every knob at its default."""
  c = ConfigDict()
  c.stages = ("sft", "rl", "eval")  # stages to run, in this order
  c.dry_run = False  # check everything that the stages need, print what was found, and stop
  c.control = False  # run the stages that are a control of the experiment, too (sft.control)
  c.seed = 0
  # Prompt and form of the judgements, of prompts.PROMPTS. With ":escaped" behind it, as in
  # "think:escaped", a backslash marks the prompt's separators where a question or a candidate has
  # them, so that no two pairs have one prompt; published judges were trained without.
  c.grammar = "think"
  c.compile_cache = "~/.cache/cot_rm/xla"  # folder of compiled programs; "": none are kept
  # Devices that jax makes of a CPU, each with its own shard of a batch; 0: as the environment says;
  # -2: two where two cores are free, else one.
  # One device per core is faster: small operations gain nothing from a second core.
  c.cpu_devices = 0

  c.mesh = dict(
    shape=dict(data=1, fsdp=-1, tensor=1),  # devices per axis; -1: all that remain
    sample_shape=optional(ConfigDict),  # of the sampler's mesh; None: as `shape`
    train_rules=_rules(),
    sample_rules=_rules(),  # of the sampler's arrays
  )
  c.model = dict(  # how a stage opens its model [judge.load]
    base="",  # of a model that is a LoRA adapter; "": as its adapter_config.json says
    dtype="float32",  # of parameters
    compute_dtype=optional(str),  # of matrix products and activations; None: as the parameters
    remat=False,  # recompute activations in the backward pass instead of storing them
  )
  c.processor = dict(  # images and videos; None: as the checkpoint says [Processor.load]
    min_pixels=optional(int),  # smallest area of an image after resizing
    max_pixels=optional(int),  # largest area of an image after resizing
    fps=optional(float),  # frames of a video that are read per second
    max_frames=optional(int),  # frames of a video that are read, at most
    # Positions of videos as transformers 4.49 to 4.51 ("hf4_49", the training of R1-Reward), 4.52
    # to 4.57 ("hf4") or 5 ("hf5") counts them.
    mrope="hf4",
    video=dict(  # which frames of a video, and bounds of their size [media.VideoRules]
      # "qwen_vl_utils" (0.0.12 to 0.0.14), "qwen_vl_utils_0.0.11", "qwen_vl_utils_0.0.8"
      # "transformers" (its own processor of videos), "flat" (as pictures). None: as the
      # checkpoint says, and "qwen_vl_utils" where it says nothing.
      mode=optional(str),
      min_pixels=optional(int),  # least area of a frame; None, here and below: as the mode says
      max_pixels=optional(int),  # largest area of a frame
      total_pixels=optional(int),  # of every second frame of a video together
      min_frames=optional(int),  # frames that are read, if there are as many
    ),
    # Control tokens such as <|im_end|> inside a question or candidate: "refuse" the example, or
    # read them as plain "text".
    control_tokens="refuse",
  )
  c.buckets = dict(  # allowed shapes: a row is padded to the smallest that holds it [Buckets]
    tokens=(512, 1024, 2048, 4096),  # of a row, prompt and answer
    patches=(1024, 2048, 4096, 8192),  # of a row's pictures; Qwen2.5-VL: 4 patches a visual token
    answers=(512, 1024, 2048),  # of an answer, in the groups of RL, which share their prompt
  )
  c.data = dict(  # examples of all stages
    # Examples of a stage that may be left out because their record, media, text or length is at
    # fault; they are counted and listed in the stage's skipped.jsonl. 0: all must be usable.
    max_bad=0,
    # How media are opened; for all fields see [media.Options].
    http=False,  # fetch http:// and https:// URLs, at each use again; False: they are bad media
    http_timeout=60.0,  # seconds for a whole file
    http_bytes=256 * 2**20,  # largest file that is fetched
    turn_exif=True,  # turn pictures upright; False: as stored, as qwen-vl-utils shows them
    over_white=True,  # transparency over white; False: dropped, as transformers' load_image does
    scale_depth=True,  # 16 bits and more to 8 bits; False: clipped, as Pillow and transformers do
    max_file_pixels=178_956_970,  # largest picture file that is decoded; 0.7 GB when decoded
    # A checkpoint of SFT or RL whose examples are others today: "stop" with the difference, or
    # "continue" with the new ones from the same position.
    changed="stop",
    ties="drop",  # pairs without a preferred candidate: "drop", or "keep" without gold
    pairs="all",  # of ranked candidates: "all" of unequal rank, or "best_worst"
  )
  c.sampler = dict(  # batch, chunk and KV-cache limits of the sampler [Limits]
    max_group=0,  # samples of a prompt that are decoded at the same time; 0: all
    decode_chunk=16,  # tokens decoded between two looks at which samples have ended
    prefill_chunk=2048,  # prompt positions that go through the model at a time; 0: all
    kv_memory=0,  # bytes of keys and values, at most; 0: what max_prompts need
    extra_prompts=0.5,  # prompt slots for prompts that wait, as a fraction of max_prompts
    weights="",  # of the sampler: "bfloat16", "int8" (decoder only); "": as they are trained
  )

  c.importing = _importing()  # of the stage "import"; on the command line --config.import.source
  c.world = _world()
  c.port = dict(
    source="",  # a Hugging Face folder or hub id; for target "hf" a model folder
    target="orbax",  # "orbax": a model folder of this package; "hf": a Hugging Face folder
    dtype="bfloat16",  # of the parameters that are written
  )
  c.distill = _distill()
  c.sft = _sft()
  c.reject = _reject()
  c.rl = _rl()
  # Of the log-probabilities of policy, sampler and reference. None: the temperature, so that the
  # ratio is that of the distribution sampled from, but for top-p, top-k and a repetition penalty,
  # which log-probabilities leave out; as TRL and verl.
  c.rl.sampling.logps_temperature = optional(float)
  c.eval = _eval()
  c.judge = dict(  # verdicts on a file of pairs
    start="",
    input="",  # pairs: a JSONL file, data in a published layout, or a folder of examples
    split="train",  # of a folder
    votes=1,  # judgements per order; more than one needs a temperature above 0
    read="text",  # or "direct", see config.eval.read
    both_orders=True,  # judge each pair again with its candidates swapped
    vote_stop=False,  # leave out votes that can no longer change a majority
    temperature=0.0,
    repetition_penalty=optional(float, 1.0),  # as in a section `sampling`
    max_tokens=2048,  # of an answer
    max_prompts=8,  # pairs in a batch, and prompts that are answered at the same time, at most
  )
  for value in c.values():
    if isinstance(value, ConfigDict):
      _close(value)
  return c


def _rules() -> dict[str, Any]:
  """{logical axis of an array: mesh axes over which it is sharded: one, a tuple, or None}."""
  return dict(
    batch=("data", "fsdp"),
    embed=optional(object, "fsdp"),
    vocab=optional(object, "tensor"),
    heads=optional(object, "tensor"),
    kv_heads=optional(object, "tensor"),
    mlp=optional(object, "tensor"),
  )


def _importing() -> dict[str, Any]:
  """Data sets as they are published, checked and stored for the other stages."""
  return dict(
    source="",  # "path" or "layout:path", see data.datasets; several separated by commas
    split="train",  # of the sources
    exclude="",  # a file with ids of examples to leave out, one a line, as eval writes exclude.txt
    val=0.02,  # validation pairs, the split "check": a share, or from 1 on about this many; 0: none
    start="",  # a model: the lengths of its prompts are checked by `buckets`; "": they are not
    check="decode",  # of media: the pixels that a model sees, or the "header" alone
    needs_gold=True,  # an example without a gold answer is a bad one
    # "check": a reference outside the grammar or against the gold answer makes its example a bad
    # one; "drop": such a reference is left out alone; "keep": references are not looked at.
    references="check",
    videos="file",  # a video file is stored as it is, or as the "frames" that a model samples
    max_pixels=0,  # larger pictures and sampled frames are shrunk to this area; 0: as they are
    quality=95,  # of pictures that are encoded anew: JPEG, 1 to 100; 0: PNG
    shard_mb=256,  # megabytes between two points at which an interrupted import continues
    threads=0,  # examples that are checked at the same time; 0: one a core
  )


def _world() -> dict[str, Any]:
  """The built-in preference world, and a random model for it."""
  return dict(
    family="qwen2_5_vl",  # of models.MODELS
    preset="tiny",  # size of the model, of the family's PRESETS
    vocab_size=512,  # of the tokenizer, at most
    corpus=4000,  # examples whose texts train the tokenizer
    shapes=dict(  # [toy_world.world.World]
      side=84,  # of an image, in pixels
      objects=(1, 2),  # fewest and most objects in an image
      frames=4,  # of a video
      frame_side=56,  # of a frame, in pixels
      image_understanding=0.4,  # weights of the four tasks
      image_generation=0.4,
      video_understanding=0.1,
      video_generation=0.1,
    ),
    # {split: number of examples}; "base" trains a base model, "check" has the validation pairs
    sizes=dict(references=2000, train=8000, check=64, heldout=1000),
  )


def _distill() -> dict[str, Any]:
  """Judgements of labelled pairs by a teacher; those that agree with the label are kept."""
  return dict(
    data="",
    split="train",
    count=1000,  # pairs, drawn at random; 0: all
    tasks="",  # tasks of the pairs, separated by commas; "": all
    attempts=3,  # at a pair, at most; the number that it takes is the pair's difficulty
    unanswered=0,  # pairs that may be left out because their calls failed
    model="",  # the service's name of the teacher
    cache="",  # file of all answers; "": calls.sqlite in the stage's folder
    # base_url "": the built-in teacher, which knows the built-in world and needs no network
    endpoint=dict(base_url="", **CALLS),  # [chat.Endpoint]
    sampling=dict(  # [chat.Sampling]
      temperature=1.0,
      max_tokens=4096,
      seed=optional(int, 0),  # sent as seed + attempt; None: not sent
    ),
    pictures=dict(  # [chat.Pictures]
      quality=95,  # of the JPEG, 1 to 100
      max_pixels=501_760,  # larger pictures are shrunk to this area
      max_frames=8,  # of a video
    ),
    budget=dict(BUDGET),  # [chat.Budget]
    teacher=dict(  # the built-in teacher [toy_world.teacher.Teacher]
      error=0.1,  # rate of wrong verdicts, in the easiest scenes
      per_object=0.1,  # added for each further object in the fullest picture
      relation=0.15,  # added for questions about number, place, order, motion or owner
      unparsable=0.03,  # rate of texts without a verdict
      contradicting=0.0,  # rate of errors with a right verdict that contradicts its reasoning
      seed=0,
    ),
  )


def _sampling() -> dict[str, Any]:
  """How a model of our own is sampled, whatever its generation_config.json says."""
  return dict(
    temperature=1.0,
    top_p=1.0,  # sample among the likeliest tokens that together reach this probability; 1: all
    top_k=0,  # sample among this many of the likeliest tokens; 0: all
    # Of tokens in prompt and answer; 1: none; None: as generation_config.json says.
    repetition_penalty=optional(float, 1.0),
    max_tokens=2048,
  )


def _sft() -> dict[str, Any]:
  """Supervised fine-tuning on examples with a reference judgement."""
  return dict(
    start="",
    data="",
    split="train",
    steps=1000,
    # With steps=0 the number of steps follows from time: as many steps as fit into the seconds
    # that the stages `minutes_of` (separated by commas) took, at the speed of the SFT `speed_of`.
    minutes_of="",
    speed_of="sft",
    control=False,  # this SFT is a control of RL: it runs only where config.control is set
    # References of another grammar, or whose verdict is not the gold answer: the stage does not
    # begin ("refuse"), learns from them ("keep"), or leaves them out ("drop").
    contradicting="refuse",
    rows=8,  # packed rows of a step, of each process
    examples=0,  # references in these rows, at most; 0: as many as fit
    accumulate=1,  # microbatches of a step that go through the model one after the other
    eval_every=250,  # steps between two validations
    save_every=250,  # steps between two checkpoints
    optim=_optim(lr=1e-5, warmup=30, frozen=()),
  )


def _reject() -> dict[str, Any]:
  """Rejection sampling: the policy's correct judgements are kept."""
  return dict(
    start="sft",
    data="",
    split="train",
    count=0,  # pairs, drawn at random; 0: all
    tasks="",  # tasks of the pairs, separated by commas; "": all
    samples=1,  # of each pair
    keep=1,  # correct samples of a pair that are kept, at most
    accept=("accuracy",),  # a sample is correct if these rewards are 1
    max_prompts=16,  # prompts that are answered at the same time, at most
    sampling=_sampling(),  # [sampling.Sampling]
  )


def _rl() -> dict[str, Any]:
  """Reinforcement learning on pairs with a gold answer."""
  return dict(
    start="sft",
    data="",
    split="train",
    tasks="",  # tasks of the pairs, separated by commas; "": all
    min_attempts=0,  # only pairs that took the teacher at least this many attempts; 0: all
    order="shuffled",  # of the pairs; "ascending": by the teacher's attempts, easy pairs first
    algorithm="grpo",  # of algorithms.ALGORITHMS
    settings=_algorithms(),
    correction=dict(  # of the ratio between trainer and sampler [importance_correction.Config]
      cap=optional(
        float
      ),  # upper bound of the weight p(trainer) / p(sampler); None: all weights are 1
      low=optional(float),  # answers with a lower ratio are masked out; None: no bound
      high=optional(float),  # answers with a higher ratio are masked out; None: no bound
    ),
    rewards=dict(format=1.0, accuracy=1.0),  # {name in rewards.REWARDS or PRODUCTS: weight}
    judge=dict(  # the judge model that decides whether a verdict follows from its reasoning
      by="",  # "service"; "policy": the policy before training; "": no judge model
      model="",  # the service's name of the judge model
      sampling=dict(temperature=0.1, max_tokens=4096, seed=optional(int)),  # [chat.Sampling]
      endpoint=dict(base_url="http://127.0.0.1:8000/v1", **CALLS),  # [chat.Endpoint]
      budget=dict(BUDGET),  # [chat.Budget]
    ),
    rollouts=500,
    max_pixels=optional(int),  # of an image or frame in this stage; None: as processor says
    prompts=16,  # of a rollout; with the reward "swap" half are the other half, swapped
    max_prompts=0,  # prompts that are answered at the same time, at most; 0: all of a rollout
    group=8,  # samples per prompt
    # Groups whose rewards are all equal: train on them ("keep"), leave them out ("drop"), or
    # leave them out and sample other prompts ("resample").
    zero_variance="drop",
    # With "resample", the reward in which a group must vary: a name of `rewards`, or "total". DAPO
    # leaves out the groups that are all right or all wrong.
    resample_by="accuracy",
    max_resample_rounds=3,  # rounds of sampling of a rollout, at most, with "resample"
    train_prompts=16,  # groups of a rollout that are trained on, at most
    minibatches=1,  # of these groups, with an optimizer step each
    epochs=1,  # passes over a rollout
    accumulate=1,  # microbatches of a step that go through the model one after the other
    on_nonfinite="raise",  # on a loss that is not finite; "end": the stage saves its model and ends
    # 1: the next rollout is sampled while this one is judged and trained on, with the weights from
    # before its updates. One process only.
    async_rollouts=0,
    sampling=_sampling(),  # [sampling.Sampling]
    eval_every=50,  # rollouts between two validations
    save_every=50,  # rollouts between two checkpoints
    samples_every=50,  # rollouts between two files of samples
    vision_check_every=50,  # rollouts between two comparisons with blank pictures
    optim=_optim(lr=1e-6, warmup=10, frozen=("visual",)),
  )


def _algorithms() -> dict[str, dict[str, Any]]:
  """{algorithm: arguments of its Config}; the argument max_tokens is rl.sampling.max_tokens."""
  clip = dict(clip_low=0.2, clip_high=0.2)  # the ratio is clipped to 1 - clip_low, 1 + clip_high
  # Of the loss over tokens: "sequence" (of an answer, then of answers), "token", "constant", "sum".
  aggregate = "sequence"
  returns = dict(
    kl=0.0,  # weight of the log-ratio to the reference, subtracted from each token's reward
    reward_bound=10.0,  # rewards are clamped to +- this
    epsilon=1e-8,  # lower bound of the variance of the returns
  )
  return dict(
    grpo=dict(
      **clip,
      kl=0.04,  # weight of the KL penalty to the reference policy
      kl_clamp=10.0,  # bound of the log-ratio in the KL estimator
      ratio="token",  # of each token, or "sequence": the geometric mean of an answer
      normalize="std",  # divide advantages by the group's standard deviation; "none": do not
      epsilon=1e-4,  # added to a group's standard deviation
      aggregate=aggregate,
      buffer=0,  # last tokens before max_tokens in which the reward falls by up to 1; 0: none
    ),
    rloo=dict(
      **clip,
      kl=0.0,  # weight of the log-ratio to the reference, subtracted from the reward
      aggregate="sum",  # an answer is one action, as in the paper
    ),
    reinforce_pp=dict(**clip, **returns, aggregate=aggregate),
    stable_reinforce=dict(
      **clip,
      **returns,
      preclip_low=optional(float, 1e-3),  # Pre-CLIP: lower bound of the ratio; None: no bound
      preclip_high=optional(float, 1e3),  # Pre-CLIP: upper bound of the ratio; None: no bound
      filter="paper",  # of the advantages: as the paper, "released" as its code, or "none"
      filter_bound=3.0,  # of the filter, in standard deviations
      aggregate=aggregate,
    ),
  )


def _eval() -> dict[str, Any]:
  """Scores of models; its pairs and limits hold for validation during training, too."""
  return dict(
    models="sft,rl",  # the models to score, separated by commas: folders of stages, or paths
    benchmark="pairs",  # of benchmarks.BENCHMARKS: "pairs" for data of any source, or a public one
    mode="both",  # of the benchmark's MODES: "both" orders, "first", or the mode of a paper
    data="",  # pairs, or the folder of a public benchmark's files
    split="heldout",
    # How verdicts are read: the model writes its judgement ("text"), or writes nothing, and the
    # probabilities of "1" and "2" after an empty reasoning decide ("direct"); or "text,direct".
    read="text",
    pairs=1000,  # of the split, the first ones; a public benchmark is scored completely
    blank_pairs=128,  # pairs that are judged again with blank pictures
    baselines=True,  # judges without a model beside the others: a position, a coin, lengths
    # Two models' answers, "A,B", to compare instead of asking: models that the run has scored,
    # folders <workdir>/eval/<model>, or workdirs. Writes eval/comparison.html.
    compare="",
    compare_pairs=40,  # pairs on that page: where the two differ most
    # Training data, one or several with commas, in which the pairs are looked for by picture
    # and text: eval/contamination.json, eval/exclude.txt, and the accuracy on pairs not in them.
    contamination="",
    contamination_split="train",  # of the training data
    val_split="check",  # of `data`: the validation pairs, which are judged during training
    val_pairs=64,  # number of validation pairs
    votes=0,  # samples of each pair and order for majority votes; 0: no votes
    vote_temperature=1.0,
    repetition_penalty=optional(float, 1.0),  # as in a section `sampling`
    vote_pairs=0,  # pairs that are voted on; 0: all
    vote_at=(1, 5, 15),  # numbers of votes for which voting@k is reported, those up to `votes`
    samples=12,  # judgements shown in the report: the first ones,
    best=6,  # then the most confident correct ones,
    worst=6,  # and the most confident wrong ones
    max_prompts=16,  # prompts that are answered at the same time, at most
    max_tokens=2048,  # of an answer
  )


def _optim(*, lr: float, warmup: int, frozen: tuple[str, ...]) -> dict[str, Any]:
  """Optimizer and learning rate schedule [optim.make]."""
  return dict(
    lr=lr,  # peak learning rate
    warmup=warmup,  # optimizer steps of a linear warm-up, the last of them at the peak
    decay=0.5,  # fraction of the steps, at the end, in which a cosine lowers the learning rate
    final=0.0,  # the learning rate at the end, as a fraction of the peak
    clip=1.0,  # bound of the gradient's global norm
    weight_decay=0.0,
    decay_vectors=False,  # whether scales of norms and biases decay, too; embeddings always do
    b1=0.9,  # of AdamW
    b2=0.98,
    muon=0.0,  # not 0: matrices are trained by Muon, at a learning rate of muon * lr
    frozen=frozen,  # regular expressions of the paths of parameters that are not trained
  )
