"""Asks a teacher model for judgements of labelled pairs, and keeps those that agree with the label.

R1-Reward's cold start (arXiv:2505.02835) has up to three attempts at a pair, and the number of
attempts is the difficulty of the pair. UnifiedReward-Think's (arXiv:2505.03318) has one attempt.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence

import jax
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

from cot_rm import chat, files, media, metrics, prompts, schema, stages
from cot_rm.data import array_record, bad_examples, distillation
from cot_rm.stages import common, preflight_examples
from cot_rm.stages import preflight as checking
from cot_rm.toy_world import teacher as toy_teacher

PROBE = 32  # pairs that are asked first: a teacher without one readable verdict on them stops here


def run(config: common.Section, workdir: epath.Path, name: str) -> stages.Figures:
  """Writes workdir/<name>/data: splits "kept" (with reasoning) and "failed"; returns the figures.

  Examples of both splits have `attempts`: the number of the correct attempt, or one more than the
  limit. Together the splits hold every pair that was asked, in the order shown to the teacher. An
  empty split is not written. Answers are cached: an interrupted run continues with the next call.

  Raises:
    chat.Stopped: invalid key, no server, budget exhausted, disk full; see chat.
    RuntimeError: no verdict of the teacher is correct, or too many calls have no answer. Answers
      are kept: the same command continues.
  """
  section, folder = common.section_name(config, name, "distill"), workdir / name
  knobs = config[section]
  if jax.process_index() == 0 and not (folder / "data").exists():
    folder.mkdir(parents=True, exist_ok=True)
    source = common.open_examples(config, workdir, knobs.data, knobs.split)
    tasks = common.parse_tasks(knobs.tasks)
    skips = common.open_skips(config, workdir, name)
    pairs = distillation.sample_pairs(
      common.count_bad_records(source, skips),
      count=knobs.count,
      tasks=tasks,
      seed=config.seed,
      left_out=lambda _, id, error: skips.add(id, error),
    )
    options = common.media_options(config)
    with _open_client(knobs, folder, f"config.{section}", options) as client:
      _Distillation(config, section, name, source, pairs, client=client, skips=skips).run()
      asked = [pair for pair in pairs if not pair.bad]
      figures = dict(distillation.statistics(asked, max_attempts=knobs.attempts))
      figures |= skips.figures() or {}
      usage = chat.Usage(figures["calls"], figures["prompt_tokens"], figures["completion_tokens"])
      figures["dollars"], model = client.budget.cost(usage), client.model
    files.write_atomic(folder / "figures.json", json.dumps(figures, indent=2))
    splits = _splits(source, asked, knobs.attempts, model)
    array_record.write(folder / "data", splits, options=options, left_out=skips.add)
  multihost_utils.sync_global_devices(name)  # process 0 alone asks the teacher
  if jax.process_index() > 0:
    return None
  figures = json.loads((folder / "figures.json").read_text())
  by_source = figures.pop("by_source")
  heads = next(iter(by_source.values()))
  metrics.table(
    f"{name}: attempts until the teacher agreed with the label",
    {head: {source: row[head] for source, row in by_source.items()} for head in heads},
  )
  return figures


def preflight(config: common.Section, workdir: epath.Path, name: str) -> checking.Checks:
  """Checks the pairs that will be asked about, the service, its key, and the room on disk."""
  section, checks = common.section_name(config, name, "distill"), checking.Checks(name)
  knobs, where = config[section], f"config.{section}"
  checking.check_grammar(checks, config)
  with checks.catching():
    chat.Pictures(**knobs.pictures)
  if knobs.endpoint.base_url:
    checking.check_service(checks, knobs, where)
  else:
    with checks.catching():
      toy_teacher.Teacher(**knobs.teacher)
      chat.Budget(**knobs.budget)
  tasks = checking.check_tasks(checks, knobs)
  with checks.catching():
    if not checking.planned_data(checks, config, workdir, f"{where}.data", knobs.data):
      preflight_examples.check_pool(checks, config, workdir, knobs, where, tasks, folder=None)
  return checks


def _splits(
  source: Sequence[schema.Example],
  pairs: Sequence[distillation.Pair],
  max_attempts: int,
  model: str,
) -> dict[str, Iterator[schema.Example]]:
  """{split: its examples}, without empty splits, which TFDS cannot write."""

  def examples(pairs):
    for pair in pairs:
      yield distillation.distilled_example(source, pair, max_attempts=max_attempts, model=model)

  splits = {
    "kept": [pair for pair in pairs if pair.correct],
    "failed": [pair for pair in pairs if pair.failed],
  }
  return {split: examples(members) for split, members in splits.items() if members}


@contextlib.contextmanager
def _open_client(
  knobs: common.Section, folder: epath.Path, where: str, options: media.Options
) -> Iterator[chat.Client]:
  """A client of the service at endpoint.base_url, or of the built-in teacher if that is empty."""
  with contextlib.ExitStack() as stack:
    endpoint, model = knobs.endpoint.to_dict(), knobs.model
    if not endpoint["base_url"]:
      teacher = toy_teacher.Teacher(**knobs.teacher)
      endpoint["base_url"], model = stack.enter_context(toy_teacher.serve(teacher)), teacher.name
      logging.info("%s: the built-in teacher, at %s", where, endpoint["base_url"])
    yield stack.enter_context(
      chat.Client(
        model,
        cache=knobs.cache or folder / "calls.sqlite",
        endpoint=chat.Endpoint(**endpoint),
        budget=chat.Budget(**knobs.budget),
        pictures=chat.Pictures(**knobs.pictures, options=options),
        where=where,
      )
    )


class _Distillation:
  """Asks attempt by attempt, until each pair is correct, without an answer, or out of attempts."""

  def __init__(
    self,
    config: common.Section,
    section: str,
    name: str,
    source: Sequence[schema.Example],
    pairs: Sequence[distillation.Pair],
    *,
    client: chat.Client,
    skips: bad_examples.Skips,
  ):
    self._knobs, self._where, self._name = config[section], f"config.{section}", name
    self._grammar_name, self._grammar = config.grammar, prompts.get(config.grammar)
    self._source, self._pairs, self._client, self._skips = source, pairs, client, skips
    self._begun = self._correct = 0  # pairs with a reply, pairs with a correct verdict

  def run(self) -> None:
    """Fills the pairs with replies and verdicts. Raises RuntimeError, see the stage's `run`."""
    knobs, pairs = self._knobs, self._pairs
    with metrics.bar(self._name, total=len(pairs)) as self._bar:
      for attempt in range(1, knobs.attempts + 1):
        due = [pair for pair in pairs if not (pair.correct or pair.unanswered or pair.bad)]
        self._ask(due[:PROBE], attempt)
        if attempt == 1 and len(due) > PROBE:
          self._check_teacher(any(v for pair in pairs for v in pair.verdicts))
        self._ask(due[PROBE:], attempt)
    unanswered = [pair for pair in pairs if pair.unanswered]
    if len(unanswered) > knobs.unanswered:
      raise RuntimeError(
        f"{len(unanswered):,} of {len(pairs):,} pairs have no answer ({_outcomes(unanswered)}); "
        f"the first is example {unanswered[0].id!r}: {unanswered[0].replies[-1].error}\n"
        f"all answers are kept: run the same command again, or raise {self._where}.unanswered, "
        f"the number of pairs that may have no answer"
      )
    self._check_teacher(self._correct > 0)

  def _ask(self, pairs: Sequence[distillation.Pair], attempt: int) -> None:
    self._client.ask(
      map(self._chat, pairs),
      chat.Sampling(attempt=attempt, **self._knobs.sampling),
      names=[f"example {pair.id!r}" for pair in pairs],
      progress=lambda index, reply: self._take(pairs[index], reply),
    )

  def _chat(self, pair: distillation.Pair) -> schema.Chat | schema.BadExample:
    try:
      return self._grammar.render(distillation.shown_example(self._source, pair))
    except schema.BadExample as error:
      return error

  def _take(self, pair: distillation.Pair, reply: chat.Reply) -> None:
    """Adds a reply to its pair; runs in the client's thread."""
    pair.replies.append(reply)
    if pair.bad:
      self._skips.add(pair.id, str(reply.error).removeprefix("bad: "))
    if reply.final:
      text, task = reply.text, pair.task
      pair.verdicts.append(self._grammar.parse(text, task).answer if text else None)
    self._begun += len(pair.replies) == 1
    self._correct += pair.correct
    done = pair.correct or pair.unanswered or pair.bad or len(pair.verdicts) == self._knobs.attempts
    agreement = self._correct / self._begun
    self._bar.advance(int(done), agreement=agreement, dollars=self._client.dollars)

  def _check_teacher(self, useful: bool) -> None:
    """Raises RuntimeError unless `useful`: the teacher gave no correct verdict; stops the costs."""
    if useful:
      return
    asked = [pair for pair in self._pairs if pair.replies]
    reply = asked[0].replies[-1]
    raise RuntimeError(
      f"{self._client.model} at {self._client.endpoint.base_url} gave the correct verdict on none "
      f"of {len(asked):,} pairs ({_outcomes(asked)}). Its answer to example {asked[0].id!r}: "
      f"{(reply.error or reply.text)[:300]!r}\nchange {self._where}.model or config.grammar, which "
      f"is {self._grammar_name!r}; all answers are kept"
    )


def _outcomes(pairs: Sequence[distillation.Pair]) -> str:
  """The calls by outcome: "refused 3, verdict 17"."""
  counts = distillation.count_outcomes(pairs)
  return ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
