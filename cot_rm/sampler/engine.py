"""Prompts to sampled answers: pictures and prompt once per group, then a token at a time.

A fixed number of seats holds a prompt each, a fixed number of slots a sample each. A slot whose
sample ends takes the next one that waits, of whichever prompt, and a seat whose samples have all
ended the next prompt, between chunks of tokens; there are more seats than the slots need, so that
prompts are there when slots come free. Shapes never change, so nothing is compiled after the first
calls; and what is sampled does not depend on who sits beside.

Of several processes each has seats and prompts of its own in arrays of all. They run the same
programs at the same time: between chunks they agree on whether anyone reads prompts, or goes on.
"""

import dataclasses
import time

import jax
import numpy as np
from absl import logging

from cot_rm import distributed
from cot_rm.sampler import programs, stats
from cot_rm.sampler.limits import Room


@dataclasses.dataclass(frozen=True)
class Sample:
  """One sampled answer, before it is text."""

  tokens: np.ndarray  # i32[T], the stop token included where there is one
  logps: np.ndarray  # f32[T], of the model: before temperature, top-p, top-k and banned tokens
  sampling_logps: np.ndarray  # f32[T], of the distribution sampled from
  label_logps: np.ndarray  # f32[T, W], of the model, of the label tokens at each step
  finish: str  # "stop", "length", or what `watch` said


@dataclasses.dataclass
class _Seat:
  """A question that is being answered: which of its samples come next, and what has come."""

  question: int
  turn: int  # how many came before it
  waiting: list  # numbers of samples that have no slot yet
  growing: int = 0  # samples that have one


@dataclasses.dataclass
class _Growing:
  """What a slot's sample has so far."""

  question: int
  number: int
  seat: int
  place: int  # at the seat
  parts: list  # of tuples of arrays, a chunk each


class Engine:
  """Samples groups of answers. Keeps compiled programs, never weights."""

  def __init__(
    self,
    graphdef,
    *,
    stop_ids,
    banned_ids,
    watched_ids=(),
    buckets,
    batch,
    rows,
    position_bytes=0,
    room=None,
  ):
    """
    Args:
      graphdef: of the model.
      stop_ids: tokens that end an answer.
      banned_ids: tokens that are never sampled (those that stand for pictures).
      watched_ids: tokens whose log-probability is recorded at every step.
      buckets: packing.Buckets, the shapes that prompts may have.
      batch: `(prompts, rows, shape) -> batch.Batch` of `rows` rows, padded to `shape`:
        (tokens, patches, numbers of a patch).
      rows: prompts that a process answers at a time, at most: it has slots for their samples.
      position_bytes: of the keys and values of one position.
      room: Room.
    """
    self.buckets, self.batch, self.rows = buckets, batch, rows
    self.position_bytes, self.room = position_bytes, room or Room()
    self._read, self._fill, self._write = programs.make(
      graphdef,
      stop_ids=stop_ids,
      banned_ids=banned_ids,
      watched_ids=watched_ids,
      piece=self.room.piece,
      stacked=jax.default_backend() == "tpu",
    )
    self.figures = stats.Figures()
    self._programs, self._told = 0, set()

  def report(self):
    """Figures since the last report; they start anew."""
    compiled = sum(f._cache_size() for f in (self._read, self._fill, self._write))
    done, self.figures = self.figures, stats.Figures()
    done.programs, self._programs = compiled - self._programs, compiled
    return done

  def tell(self, seats, slots, prompt, answer, size, longest):
    """Says once what a shape takes.

    size: bytes; longest: tokens of a prompt, see Room.longest; None: there is no bound.
    """
    if (shape := (seats, slots, prompt, answer)) in self._told:
      return
    self._told.add(shape)
    most, room = "", ""
    if longest is not None:
      most = f" of {self.room.memory / 1e6:,.1f}"
      room = f", room for one prompt of up to {longest:,} at a time"
    logging.info(
      f"sampler: {seats} prompts of {prompt:,} tokens and {slots} answers of {answer:,} at a time, "
      f"contexts of {prompt + answer:,}: {size / 1e6:,.1f}{most} MB of keys and values{room}"
    )

  def __call__(
    self,
    params,
    prompts,
    seeds,
    *,
    n,
    sampling,
    limits=None,
    watch=None,
    enough=None,
    progress=None,
  ):
    """Samples `n` answers to each prompt.

    Args:
      params: nnx.State of the model.
      prompts: list of batch.Encoded.
      seeds: u32 a prompt, what the randomness of its samples hangs on: sample g of a prompt depends
        on the weights, the prompt, its seed and g, on nothing else.
      n: answers per prompt.
      sampling: sampling.Sampling.
      limits: [prompts, n] tokens that each sample may have; None: sampling.max_tokens.
      watch: `(place, g, tokens, finish) -> (finish, count) or None`, asked after each chunk of a
        sample about its tokens, with what ends it, if something does: what is said ends it after
        so many of the tokens (a stop string, a cancelled request).
      enough: `(place, samples) -> bool`, asked when a sample of a prompt has ended: true ends its
        others, which are then None (a vote that is decided).
      progress: called with the number of prompts that have just been answered in full.

    Returns:
      Lists of n Samples, in the order of the prompts.
    """
    out = [[None] * n for _ in prompts]
    if limits is None:
      limits = np.full((len(prompts), n), sampling.max_tokens)
    lengths = [self.buckets.token_bucket(p.id, len(p.tokens)) for p in prompts]
    # The lengths that anyone has.
    sizes = sorted(self.buckets.tokens)
    used = distributed.all_gather_host([[size in lengths for size in sizes]]).any(0)
    runs = []
    for length in (size for size, one in zip(sizes, used, strict=True) if one):
      places = [place for place, other in enumerate(lengths) if other == length]
      # Prompts with as many patches are read together.
      places.sort(
        key=lambda at: self.buckets.patch_bucket(prompts[at].id, len(prompts[at].patches))
      )
      name = prompts[places[0]].id if places else ""
      run = _Run(self, params, prompts, seeds, n, sampling, limits, out, length, name)
      runs.append((run, places))
    for run, places in runs:  # each has found that it has room
      run(places, watch, enough, progress)
    return out


class _Run:
  """The prompts of one length of one call."""

  def __init__(self, engine, params, prompts, seeds, n, sampling, limits, out, length, name):
    self.engine, self.params, self.prompts, self.seeds = engine, params, prompts, seeds
    self.n, self.sampling, self.limits, self.out = n, sampling, limits, out
    room = engine.room
    self.S, self.G = length, min(n, room.together or n)
    self.parts = room.parts(sampling.max_tokens)
    unit, shares = distributed.batch_divisor(), distributed.num_local_batch_shards()
    shape = dict(answer=sampling.max_tokens, group=self.G, shares=shares, unit=unit)
    shape["position_bytes"] = engine.position_bytes
    rows = room.rows(engine.rows, name=name, prompt=self.S, **shape)
    self.R, self.B = room.seats(rows, self.G, shares), rows * self.G
    # Devices have seats and slots of their own: a sample is made where its prompt is.
    self.shares = 1 if self.B % shares else shares
    self.read_at_once = room.read_at_once(rows, unit)
    size = room.bytes(rows, prompt=self.S, **shape)
    longest = room.longest(**shape) if room.memory else None
    engine.tell(self.R, self.B, self.S, sampling.max_tokens, size, longest)
    self.seats = [None] * self.R
    self.growing = [None] * self.B
    self.turns = 0
    # No seat to spare: slot r * G + g is place g of seat r, and who sits where need not be told.
    self.place_is_slot = self.R * self.G == self.B
    self.seated = programs.Seats(
      mask_RS=np.zeros((self.R, length), bool),
      slot_RG=np.full((self.R, self.G), self.B, np.int32),
    )
    nobody = np.zeros(self.B, np.int32)
    self.slots = programs.Slots(
      live_B=np.zeros(self.B, bool),
      seed_B=np.zeros(self.B, np.uint32),
      **{
        name: nobody.copy()
        for name in ("token_B", "first_B", "age_B", "left_B", "sample_B", "place_B")
      },
    )
    self.memory = None

  def __call__(self, places, watch, enough, progress):
    waiting = list(reversed(places))
    while distributed.all_gather_host(
      [bool(waiting) or any(seat is not None for seat in self.seats)]
    ).any():
      self._seat(waiting)
      self._start()
      done = self._grow(watch, enough)
      if progress and done:
        progress(done)
    self.memory = None  # the next run has all the room

  def _seat(self, waiting):
    """Prompts that wait into seats that are free, always `read_at_once` of them.

    Fewer would be read in a batch that is mostly padding: they wait until so many are free. A batch
    of another size would be computed in another order, and round otherwise.
    """
    size = self.read_at_once
    while True:
      free = self._free_seats()
      some = self._next(waiting, len(free))
      prompts = [self.prompts[at] for at in some]
      # Whoever has none to read fits what it brings to what the others read.
      like = distributed.all_gather_host([self._shape(prompts)]).max(0)
      if not like.any():
        break
      batch = self.engine.batch(prompts, rows=size, shape=like)
      began = time.monotonic()
      read = self.engine._read(self.params, distributed.to_global(batch))
      read = jax.block_until_ready(read)
      self._tell_read(some, size, read, time.monotonic() - began)
      processes = jax.process_count()
      if self.memory is None:
        self.memory = programs.empty(
          read, seats=self.R * processes, slots=self.B * processes, parts=self.parts
        )
      seats_r = np.full(size, self.R * processes, np.int32)
      seats_r[: len(some)] = np.array(free[: len(some)], int) + self.R * jax.process_index()
      self.memory = self.engine._fill(self.memory, read, distributed.to_global(seats_r))
      for r, at in zip(free, some, strict=False):
        self.seats[r] = _Seat(at, self.turns, waiting=list(range(self.n))[::-1])
        self.turns += 1
        # A prompt's last token is the first that each of its samples reads.
        self.seated.mask_RS[r] = np.arange(self.S) < len(self.prompts[at].tokens) - 1

  def _free_seats(self):
    """Seats that are free, in such an order that shares of the devices fill alike."""
    each = self.R // self.shares
    taken = [sum(s is not None for s in self.seats[at : at + each]) for at in self._firsts(self.R)]
    ranks = {}
    for r in (r for r, seat in enumerate(self.seats) if seat is None):
      ranks[r] = taken[r // each]
      taken[r // each] += 1
    return sorted(ranks, key=ranks.get)

  def _firsts(self, count):
    """The first seat, or slot, of each share, of so many in all."""
    return range(0, count, count // self.shares)

  def _shape(self, prompts):
    """(tokens, patches, numbers of a patch) of a batch of prompts; zeros of none."""
    if not prompts:
      return 0, 0, 0
    count = self.engine.buckets.patch_bucket(prompts[0].id, len(prompts[0].patches))
    return self.S, count, max(prompt.patches.shape[1] for prompt in prompts)

  def _next(self, waiting, free):
    """Takes the places of the prompts that are read next from those that wait; none: not now."""
    most = min(self.read_at_once, len(waiting))
    if not waiting or free < most:
      return []
    count = lambda at: self.engine.buckets.patch_bucket("", len(self.prompts[at].patches))
    some = [waiting.pop()]
    while len(some) < most and count(waiting[-1]) == count(some[0]):
      some.append(waiting.pop())
    return some

  def _tell_read(self, some, size, read, seconds):
    tokens, told = sum(len(self.prompts[at].tokens) for at in some), self.engine.figures
    told.prompts += len(some)
    told.prompt_tokens += tokens
    told.prompt_room += size * self.S
    told.prompt_seconds += seconds
    positions = size * jax.process_count() * self.S
    each = sum(x.nbytes for kv in read for x in kv) // positions  # bytes of a position
    told.shared_bytes += each * tokens * (self.G - 1)

  def _start(self):
    """Samples that wait into slots that are free."""
    if self.place_is_slot:
      for b in np.flatnonzero(~self.slots.live_B):
        r, g = divmod(b, self.G)
        if self.seats[r] and self.seats[r].waiting:
          self._sit(b, r, g)
      return
    for seats, slots in zip(self._firsts(self.R), self._firsts(self.B), strict=True):
      free = np.flatnonzero(~self.slots.live_B[slots : slots + self.B // self.shares])
      for b, (r, g) in zip(free, self._waiting(seats), strict=False):
        self._sit(slots + b, r, g)
        self.seated.slot_RG[r, g] = b
        self.slots.place_B[slots + b] = (r - seats) * self.G + g

  def _waiting(self, first):
    """The seat and the place of each sample that waits, on a share of the devices, in turn."""
    some = range(first, first + self.R // self.shares)
    for r in sorted((r for r in some if self.seats[r]), key=lambda r: self.seats[r].turn):
      for g in np.flatnonzero(self.seated.slot_RG[r] == self.B):
        if self.seats[r].waiting:
          yield r, g

  def _sit(self, b, r, place):
    """The next sample of a seat into a slot."""
    s, seat = self.slots, self.seats[r]
    g, at = seat.waiting.pop(), seat.question
    seat.growing += 1
    prompt = self.prompts[at]
    s.live_B[b], s.token_B[b], s.first_B[b] = True, prompt.tokens[-1], prompt.next_position - 1
    s.age_B[b], s.left_B[b] = 0, self.limits[at][g]
    s.seed_B[b], s.sample_B[b] = self.seeds[at], g
    self.growing[b] = _Growing(at, g, r, place, [])

  def _grow(self, watch, enough):
    """A chunk of tokens for every slot; how many prompts have all their answers with it."""
    s, done, began = self.slots, 0, time.monotonic()
    # A device may still read what it was given when another's tokens are here: it gets copies.
    seats, slots = jax.tree.map(np.copy, (self.seated, s))
    if self.place_is_slot:
      seats, slots = seats._replace(slot_RG=None), slots._replace(place_B=None)
    self.memory, chunk = self.engine._write(
      self.params,
      self.memory,
      distributed.to_global(seats),
      distributed.to_global(slots),
      sampling=self.sampling,
      size=self.engine.room.chunk,
    )
    chunk = distributed.to_local(chunk)
    told = self.engine.figures
    told.answer_tokens += int(chunk.count_B[s.live_B].sum())
    told.answer_room += int(chunk.count_B.max()) * self.B
    told.answer_seconds += time.monotonic() - began
    live = np.flatnonzero(s.live_B)
    s.age_B[live] += chunk.count_B[live]
    s.left_B[live] -= chunk.count_B[live]
    for b in live:
      if not s.live_B[b]:
        continue  # another of its prompt has ended it just now
      one, k = self.growing[b], chunk.count_B[b]
      one.parts.append(
        (
          chunk.tokens_BC[b, :k],
          chunk.logps_BC[b, :k],
          chunk.drawn_BC[b, :k],
          chunk.watched_BCW[b, :k],
        )
      )
      s.token_B[b] = chunk.tokens_BC[b, k - 1]
      finish = "stop" if chunk.stopped_B[b] else "length" if s.left_B[b] == 0 else None
      count = s.age_B[b]
      if watch:
        tokens = np.concatenate([part[0] for part in one.parts])
        finish, count = watch(one.question, one.number, tokens, finish) or (finish, count)
      if finish:
        done += self._end(b, finish, count, enough)
    return done

  def _end(self, b, finish, count, enough):
    """Ends a slot's sample after `count` tokens; whether it was its prompt's last."""
    one, told = self.growing[b], self.engine.figures
    seat, samples = self.seats[one.seat], self.out[one.question]
    parts = (np.concatenate(part)[:count] for part in zip(*one.parts, strict=True))
    samples[one.number] = Sample(*parts, finish)
    self._free(b)
    seat.growing -= 1
    told.samples += 1
    told.sample_tokens += int(count)
    if (
      (seat.waiting or seat.growing)
      and enough
      and enough(one.question, [sample for sample in samples if sample is not None])
    ):
      told.spared += len(seat.waiting) + seat.growing
      seat.waiting, seat.growing = [], 0
      for other in [o for o, x in enumerate(self.growing) if x and x.seat == one.seat]:
        told.spared_tokens += int(self.slots.age_B[other])
        self._free(other)
    if seat.waiting or seat.growing:
      return False
    self.seats[one.seat] = None
    return True

  def _free(self, b):
    one = self.growing[b]
    self.seated.slot_RG[one.seat, one.place] = self.B
    self.slots.live_B[b], self.slots.age_B[b], self.slots.place_B[b] = False, 0, 0
    self.growing[b] = None
