"""Asks a teacher for judgements of labelled pairs, and keeps those that come to the label.

R1-Reward's cold start (arXiv:2505.02835): up to three attempts at a pair, and how many it took is
how hard the pair is. UnifiedReward-Think's (arXiv:2505.03318) has one attempt.
"""

import contextlib
import json

import jax
from absl import logging
from jax.experimental import multihost_utils

from cot_rm import chat, files, metrics, prompts
from cot_rm.data import array_record, datasets, distillation
from cot_rm.stages import common
from cot_rm.toy_world import teacher as toy_teacher

PROBE = 32  # pairs that are asked before the others: a teacher that judges none of them is no use


def run(config, workdir, name):
  """workdir/<name>/data: splits "kept" (with reasoning) and "failed"; returns the figures.

  Both have `attempts`: the attempt that was right, or one more than there were; together they hold
  every pair that was asked for, in the order in which the teacher saw it. A split without examples
  is not written. The answers are in a cache: an interrupted run goes on with the call it was at.
  The knobs are the section of the stage's folder where there is one, else config.distill.

  Raises:
    chat.Stopped: invalid key, no server, budget exhausted, disk full; see chat.
    RuntimeError: no judgement that can be read, or calls without an answer. Run again, it goes on.
  """
  section, folder = common.section_name(config, name, "distill"), workdir / name
  knobs, where = config[section], f"config.{section}"
  if jax.process_index() == 0 and not (folder / "data").exists():
    folder.mkdir(parents=True, exist_ok=True)
    source = datasets.open(common.resolve_path(workdir, knobs.data), knobs.split)
    tasks = common.parse_tasks(knobs.tasks)
    pairs = distillation.sample_pairs(source, count=knobs.count, tasks=tasks, seed=config.seed)
    with _client(knobs, folder, where) as client:
      _ask(source, pairs, client, knobs, config.grammar, name, where)
      figures = distillation.statistics(pairs, max_attempts=knobs.attempts)
      usage = chat.Usage(figures["calls"], figures["prompt_tokens"], figures["completion_tokens"])
      figures["dollars"], model = client.budget.cost(usage), client.model
    files.write_atomic(folder / "figures.json", json.dumps(figures, indent=2))
    splits = {
      "kept": [pair for pair in pairs if pair.correct],
      "failed": [pair for pair in pairs if pair.failed],
    }
    whole = lambda some: (
      distillation.distilled_example(source, pair, max_attempts=knobs.attempts, model=model)
      for pair in some
    )
    # TFDS cannot write an empty split.
    array_record.write(
      folder / "data", {split: whole(some) for split, some in splits.items() if some}
    )
  multihost_utils.sync_global_devices(name)  # the teacher is asked once, not once a process
  if jax.process_index() > 0:
    return None
  figures = json.loads((folder / "figures.json").read_text())
  by_source = figures.pop("by_source")
  heads = next(iter(by_source.values()))
  metrics.table(
    f"{name}: attempts until the teacher came to the label",
    {head: {source: row[head] for source, row in by_source.items()} for head in heads},
  )
  return figures


@contextlib.contextmanager
def _client(knobs, folder, where):
  """The client of the service that the config names; where it names none, of the built-in one."""
  with contextlib.ExitStack() as stack:
    endpoint, model = knobs.endpoint.to_dict(), knobs.model
    if not endpoint["base_url"]:
      teacher = toy_teacher.Teacher(**knobs.teacher)
      endpoint["base_url"], model = stack.enter_context(toy_teacher.serve(teacher)), teacher.name
      logging.info("no service is named: the teacher is the built-in one, %s", endpoint["base_url"])
    yield stack.enter_context(
      chat.Client(
        model,
        cache=knobs.cache or folder / "calls.sqlite",
        endpoint=chat.Endpoint(**endpoint),
        budget=chat.Budget(**knobs.budget),
        pictures=chat.Pictures(**knobs.pictures),
        where=where,
      )
    )


def _ask(source, pairs, client, knobs, grammar, name, where):
  """Asks round by round, until each pair is right, lost or out of attempts."""
  module, asked, right = prompts.get(grammar), 0, 0

  def take(pair, reply):
    nonlocal asked, right
    pair.replies.append(reply)
    if reply.final:
      pair.verdicts.append(module.parse(reply.text, pair.task).answer if reply.text else None)
    asked, right = asked + (len(pair.replies) == 1), right + pair.correct
    done = pair.correct or pair.unanswered or len(pair.verdicts) == knobs.attempts
    bar.advance(int(done), agreement=right / asked, dollars=client.dollars)

  with metrics.bar(name, total=len(pairs)) as bar:
    for attempt in range(1, knobs.attempts + 1):
      due = [pair for pair in pairs if not pair.correct and not pair.unanswered]
      for some in (due[:PROBE], due[PROBE:]):
        client.ask(
          (module.render(distillation.shown_example(source, pair)) for pair in some),
          chat.Sampling(attempt=attempt, **knobs.sampling),
          names=[f"example {pair.id!r}" for pair in some],
          progress=lambda number, reply, some=some: take(some[number], reply),
        )
        if attempt == 1 and len(due) > PROBE:
          _check(any(v for pair in pairs for v in pair.verdicts), pairs, client, grammar, where)
  lost = [pair for pair in pairs if pair.unanswered]
  if len(lost) > knobs.unanswered:
    raise RuntimeError(
      f"{len(lost):,} of {len(pairs):,} pairs had no answer ({_counted(lost)}); the first: example "
      f"{lost[0].id!r}: {lost[0].replies[-1].error}\nwhat was answered is kept: run the same "
      f"command again, or let so many be left out by {where}.unanswered"
    )
  _check(right, pairs, client, grammar, where)


def _check(of_use, pairs, client, grammar, where):
  """Raises RuntimeError where the teacher is of no use, before it costs more."""
  if of_use:
    return
  asked = [pair for pair in pairs if pair.replies]
  reply = asked[0].replies[-1]
  raise RuntimeError(
    f"{client.model} at {client.endpoint.base_url} has not found the better one in any of "
    f"{len(asked):,} pairs ({_counted(asked)}). To example {asked[0].id!r} it says: "
    f"{(reply.error or reply.text)[:300]!r}\nchange {where}.model, or config.grammar, which is "
    f"{grammar!r}; what was answered is kept"
  )


def _counted(pairs):
  """ "refused 3, verdict 17"."""
  return ", ".join(
    f"{kind} {count:,}" for kind, count in sorted(distillation.count_outcomes(pairs).items())
  )
