"""Ask the model: messages or examples in, completions and verdicts out. The trunk of every stage
that wants a judgement, and the public face of the package.
"""

import dataclasses
import functools
import zlib

import jax
import numpy as np
from absl import logging
from flax import nnx

from cot_rm import models, prompts, sharding, voting
from cot_rm.batch import Encoded
from cot_rm.checkpoints import model_folder
from cot_rm.data import packing
from cot_rm.models import logprobs
from cot_rm.sampler import engine, sampling, text_stops, weight_sync
from cot_rm.sampler.limits import Room
from cot_rm.schema import Completion, Example, Verdict

# The verdict's two digits: their log-probabilities are recorded at every step.
DIGITS = ("1", "2")
BUCKETS = packing.Buckets(
  tokens=(512, 1024, 2048, 4096, 8192), patches=(1024, 2048, 4096, 8192, 16384)
)


@dataclasses.dataclass(frozen=True)
class Judgement:
  """What the model made of one example in one order: its completions, and each one's verdict."""

  example: Example
  prompt: Encoded
  completions: tuple[Completion, ...]
  verdicts: tuple[Verdict, ...]


@dataclasses.dataclass(frozen=True)
class Sampled:
  """The model as the sampler has it."""

  graphdef: nnx.GraphDef
  dtype: str  # of its matrix products, and of keys and values
  mesh: jax.sharding.Mesh
  rules: dict


class Judge:
  """A model, its processor and an engine. Weights may be exchanged: `judge.using(params)`."""

  def __init__(self, opened, graphdef, sampled, processor, *, buckets, rows, room, mesh, rules):
    """
    Args:
      opened: checkpoint.Opened, what the model was loaded from; its parameters are used.
      graphdef: of the model.
      sampled: Sampled, the model as the sampler has it.
      processor: messages to batch.Encoded.
      buckets: packing.Buckets, the shapes that prompts may have.
      rows: prompts that are being answered at a time, at most.
      room: sampler.room.Room.
      mesh, rules: where arrays live.
    """
    self.opened, self.graphdef, self.params = opened, graphdef, opened.params
    self.processor, self.buckets, self.rows = processor, buckets, rows
    self.mesh, self.rules, self.sampled, self._weights = mesh, rules, sampled, None
    self._reduced = weight_sync.Weights(room.weights, sampled.mesh, sampled.rules)
    logging.info(
      "prompts are padded to %s tokens and %s patches: at most %d programs read them",
      ", ".join(map(str, buckets.tokens)),
      ", ".join(map(str, (0, *buckets.patches))),
      buckets.num_shapes,
    )
    self.digits = tuple(processor.encode(digit)[-1] for digit in DIGITS)
    self.engine = engine.Engine(
      sampled.graphdef,
      stop_ids=processor.stop_ids,
      banned_ids=processor.banned_ids,
      watched_ids=self.digits,
      buckets=buckets,
      batch=functools.partial(packing.prompts, buckets=buckets),
      rows=rows,
      position_bytes=opened.config.kept_numbers * jax.numpy.dtype(sampled.dtype).itemsize,
      room=room,
    )
    self._logps = logprobs.make_batch_logps(graphdef)

  def using(self, params):
    """The same judge, and its compiled programs, with other weights."""
    other = object.__new__(Judge)
    other.__dict__.update(self.__dict__, params=params, _weights=None)
    return other

  def logps(self, messages, text):
    """f32[T]: log-probability of each token of `text` as the answer to `messages`."""
    prompt = self.processor(messages, id="messages")
    answer = np.asarray(self.processor.encode(text), np.int32)
    if not len(answer):
      raise ValueError("judge.logps: the text is empty")
    batch = packing.pack([[packing.Item(prompt, answer)]], self.buckets, rows=1)
    with sharding.use(self.mesh, self.rules):
      logps_BT = self._logps(self.params, batch)
    first = len(prompt.tokens)
    return np.asarray(logps_BT)[0, first : first + len(answer)]

  def complete(
    self,
    chats,
    *,
    n=1,
    temperature=0.0,
    top_p=1.0,
    top_k=0,
    max_tokens=64,
    seed=0,
    stop=(),
    stream=None,
    cancelled=None,
  ):
    """Samples n answers to each chat.

    Args:
      chats: a list of chats; a chat is a list of messages as transformers and OpenAI clients write
        them, with parts of type text, image and video.
      n: answers per chat; the chat and its pictures are computed once.
      temperature, top_p, top_k, max_tokens: see sampling.Sampling. Temperature 0 is greedy.
      seed: of the sampling. An answer depends on the weights, its chat, the seed and its place
        among the n.
      stop: strings; an answer ends before the one that comes first in it.
      stream: `(chat, g, text)`, called with what answer g of a chat has grown by.
      cancelled: `(chat, g) -> bool`: true ends an answer, which keeps what it has; its `finish` is
        "cancelled".

    Returns:
      A list of n Completions for each chat.
    """
    encoded = [self.processor(chat, id=str(i)) for i, chat in enumerate(chats)]
    how = sampling.Sampling(temperature, top_p, top_k, max_tokens)
    watch = None
    if stop or stream or cancelled:
      watch = text_stops.Texts(self.processor.decode, stop=stop, stream=stream, cancelled=cancelled)
    groups = self.sample(encoded, n=n, how=how, seed=seed, watch=watch)
    if not stop:
      return groups
    return [[dataclasses.replace(c, text=watch.cut(c.text)) for c in group] for group in groups]

  def sample(self, encoded, *, n, how, seed, progress=None, watch=None, enough=None):
    """`complete` for prompts that are encoded.

    progress(count): so many more prompts have all their answers; watch: as the engine has it.
    enough: `(place, texts) -> bool`, asked with the texts that a prompt has: true leaves it at
      these, and its group is shorter than n.
    """
    if n < 1:
      raise ValueError(f"n is {n}; it must be 1 or more")
    seeds = [fingerprint(one, seed) for one in encoded]
    decode = self.processor.decode
    ask = enough and (lambda place, some: enough(place, [decode(one.tokens) for one in some]))
    if self._weights is None:
      self._weights = self._reduced(self.params)
    with sharding.use(self.sampled.mesh, self.sampled.rules):
      groups = self.engine(
        self._weights, encoded, seeds, n=n, sampling=how, progress=progress, watch=watch, enough=ask
      )
    return [[self._completion(one) for one in group if one is not None] for group in groups]

  def report(self):
    """{"sampler/...": number} of what was sampled since the last report."""
    return self.engine.report().metrics()

  def _completion(self, sample):
    return Completion(
      text=self.processor.decode(sample.tokens),
      tokens=sample.tokens,
      logps=sample.logps,
      finish=sample.finish,
      sampling_logps=sample.sampling_logps,
      label_logps=sample.label_logps,
    )

  def encode(self, example, *, grammar):
    """The prompt of an example: batch.Encoded.

    Raises ValueError, naming it, where its grammar or its pictures cannot be taken.
    """
    return self.processor(prompts.get(grammar).render(example), id=example.id)

  def judge(self, examples, *, grammar, n, how, seed, progress=None, encoded=None, enough=None):
    """One Judgement an example, in the order in which its candidates stand.

    encoded: what `encode` makes of the examples, where that has been done.
    enough: see `sample`.

    Raises:
      ValueError: an example that its grammar, its pictures or the buckets cannot take, by name.
    """
    words = prompts.get(grammar)
    if encoded is None:
      encoded = [self.encode(e, grammar=grammar) for e in examples]
    groups = self.sample(encoded, n=n, how=how, seed=seed, progress=progress, enough=enough)
    return [
      self._judgement(e, prompt, group, words)
      for e, prompt, group in zip(examples, encoded, groups, strict=True)
    ]

  def both(self, examples, *, grammar, n, how, seed, progress=None, vote_stop=False):
    """`judge` of the examples as given, and of the same with their candidates exchanged.

    vote_stop: leave out samples that can no longer change a majority.
    """
    every = [*examples, *(e.swapped() for e in examples)]
    asked = self.judge(
      every,
      grammar=grammar,
      n=n,
      how=how,
      seed=seed,
      progress=progress,
      enough=voting.Decided(every, grammar=grammar, n=n, swapped=True) if vote_stop else None,
    )
    return asked[: len(examples)], asked[len(examples) :]

  def _judgement(self, example, prompt, group, words):
    verdicts = []
    for completion in group:
      verdict = words.parse(completion.text, example.task)
      if verdict.answer is not None:
        verdict = dataclasses.replace(verdict, probability=self._probability(completion, verdict))
      verdicts.append(verdict)
    return Judgement(example, prompt, tuple(group), tuple(verdicts))

  def _probability(self, completion, verdict):
    """P(verdict.answer) at the token that holds the verdict's digit, the two digits sharing 1."""
    t = text_stops.token_at(self.processor.decode, completion.tokens, verdict.span[0])
    first, second = completion.label_logps[t]
    return float(1 / (1 + np.exp((second - first) * (1 if verdict.answer == 1 else -1))))

  def compare(
    self,
    examples,
    *,
    grammar="r1_reward",
    votes=1,
    both_orders=True,
    temperature=0.0,
    top_p=1.0,
    top_k=0,
    max_tokens=1024,
    seed=0,
    vote_stop=False,
  ):
    """A Verdict for each example.

    Args:
      examples: list of schema.Example.
      grammar: of prompts.PROMPTS.
      votes: judgements per order; more than one wants a temperature.
      both_orders: ask again with the candidates exchanged.
      temperature, top_p, top_k, max_tokens, seed: as in `complete`.
      vote_stop: leave out votes that can no longer change a majority: the same answers, of fewer
        votes, `probability` with a wider error.

    Returns:
      Verdicts, each about the example as given. `answer` is the majority of all parsable votes, a
      tie decided by `probability`; `probability` is P(answer), the mean over votes of each order,
      then over orders; `consistent` says whether both orders name the same candidate.
    """
    how = sampling.Sampling(temperature, top_p, top_k, max_tokens)
    asked = dict(grammar=grammar, n=votes, how=how, seed=seed)
    if both_orders:
      first, second = self.both(examples, vote_stop=vote_stop, **asked)
    else:
      enough = voting.Decided(examples, grammar=grammar, n=votes) if vote_stop else None
      first, second = self.judge(examples, enough=enough, **asked), [None] * len(examples)
    return [
      voting.combine(a.verdicts, b and b.verdicts) for a, b in zip(first, second, strict=True)
    ]


def load(
  path,
  *,
  dtype="float32",
  products=None,
  mesh=None,
  rules=None,
  processor=None,
  buckets=None,
  rows=8,
  sampler=None,
  sample_mesh=None,
  sample_rules=None,
  remat=False,
):
  """Opens a judge.

  Args:
    path: a Hugging Face folder, a hub id, or a model folder that a stage wrote.
    dtype: of the parameters.
    products: of the matrix products, and of what goes through them; None: dtype.
    mesh, rules: where arrays live: a mesh and {logical axis: mesh axes}. One device when None.
    processor: dict of min_pixels, max_pixels, fps, max_frames, mrope, over what the folder says.
    buckets: packing.Buckets, the shapes that prompts may have.
    rows: prompts that the sampler answers at a time, at most.
    sampler: dict of what sampler.room.Room takes.
    sample_mesh, sample_rules: where the sampler's arrays live; None: where the others do.
    remat: a train step computes activations again instead of keeping them.

  Raises:
    FileNotFoundError: no such folder, or a file is missing from it.
    ValueError: its tensors or its tokenizer do not fit its config.json; all are named.
  """
  mesh = sharding.make_mesh({"data": 1}, jax.devices()[:1]) if mesh is None else mesh
  rules = {} if rules is None else rules
  opened = model_folder.open_model(path, mesh=mesh, rules=rules, dtype=dtype)
  family, products = models.get(opened.family), products or dtype

  def graphdef(dtype):
    make = lambda: family.Model(opened.config, rngs=nnx.Rngs(0), dtype=dtype, remat=remat)
    return nnx.split(nnx.eval_shape(make))[0]

  room = Room(**(sampler or {}))
  sample_dtype = "bfloat16" if room.weights == "bfloat16" else products
  return Judge(
    opened,
    graphdef(products),
    Sampled(
      graphdef(sample_dtype),
      sample_dtype,
      mesh if sample_mesh is None else sample_mesh,
      rules if sample_rules is None else sample_rules,
    ),
    family.Processor.load(opened.folder, **(processor or {})),
    buckets=BUCKETS if buckets is None else buckets,
    rows=rows,
    room=room,
    mesh=mesh,
    rules=rules,
  )


def fingerprint(encoded, seed):
  """u32 of a prompt's content and a seed: what its randomness hangs on."""
  code = zlib.crc32(encoded.tokens.tobytes(), seed & 0xFFFFFFFF)
  return zlib.crc32(encoded.patches.tobytes(), code)
