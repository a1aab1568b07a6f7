"""Opens the examples at a path: our own files, or a published layout that is recognised."""

import collections
import itertools
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

from cot_rm import records, registry
from cot_rm.data import array_record, bad_examples
from cot_rm.data.datasets import pair, source
from cot_rm.data.datasets.row import Options
from cot_rm.schema import BadRecord, Example

LOOKED_AT = 20  # records from which a layout is recognised


def published(
  spec: str,
  split: str,
  adapters: Mapping[str, pair.Adapter],
  *,
  seed: int,
  options: Options,
  max_bad: int,
) -> list[source.Published]:
  """The examples of each file at a path, see `datasets.open`."""
  name, path = parse(spec, adapters)
  found = records.open(path, split, seed=seed)
  sources = []
  for part in found.parts:
    if not len(part):
      continue
    of_part = name or recognised(part, adapters)
    sources.append(
      source.Published(
        part, adapters[of_part], of_part, seed=seed, options=options, max_bad=max_bad
      )
    )
  source.number_repeats(sources)
  source.log(path, sources)
  bad = [reason for one in sources for reason in one.counts.bad]
  if len(bad) > max_bad:
    raise bad_examples.too_many(bad, max_bad, of=len(found))
  if not any(map(len, sources)):
    said = f": of {len(found):,} records {source.left_out(sources)}" if sources else ""
    first = f"; the first: {bad[0]}" if bad else ""
    raise ValueError(f"{path}: there are no examples in it{said}{first}")
  return sources


def parse(spec: str, adapters: Mapping[str, pair.Adapter]) -> tuple[str, str]:
  """(name of the adapter or "", path) of "name:path" or "path".

  What exists is a path, whatever colons it has; so are "C:\\..." and "gs://...".
  Raises ValueError for an unknown name before a path that exists.
  """
  name, colon, path = spec.partition(":")
  if os.path.exists(spec) or not colon or path.startswith("//"):
    return "", spec
  if name in adapters:
    return name, path
  if re.fullmatch(r"[\w-]{2,}", name) and os.path.exists(path):
    registry.lookup(adapters, name, "layout")
  return "", spec


def recognised(part: records.Part, adapters: Mapping[str, pair.Adapter]) -> str:
  """The name of the layout that most of a file's first records have.

  Raises ValueError, with the fields found and the known names, if it is none or not certain.
  """
  modules = {id(module): name for name, module in reversed(adapters.items())}
  votes: collections.Counter[str] = collections.Counter()
  found: dict[str, None] = {}  # fields; not the records: each may hold a video
  wrong = []
  for record in itertools.islice(part.skim(), LOOKED_AT):
    if isinstance(record, BadRecord):
      wrong.append(record)
      continue
    votes.update(name for name in modules.values() if adapters[name].matches(record))
    found |= dict.fromkeys(record)
  if wrong and not found:
    raise ValueError(f"no record of {part.path} can be read: {wrong[0]}")
  best = [name for name, count in votes.most_common() if count == max(votes.values())]
  if len(best) == 1:
    return best[0]
  fields = ", ".join(found)
  known = ", ".join(adapters)
  said = f"may be {' or '.join(best)}" if best else "has no known layout"
  raise ValueError(
    f"{part.path} {said}; its fields are {fields}; give the layout before the path, as in "
    f"{best[0] if best else 'chosen_rejected'}:{part.path}; known: {known}. Records of your own "
    f"may have the fields prompt, images, chosen and rejected"
  )


def array_record_splits(folder: pathlib.Path, split: str) -> list[Sequence[Example]]:
  """The splits of an ArrayRecord folder, several with a plus between."""
  return [array_record.open(folder, name) for name in split.split("+")]
