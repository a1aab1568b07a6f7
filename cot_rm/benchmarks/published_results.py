"""Results of other judges as they were published, with their sources and what to mind.

They stand beside measured results and are never mixed with these: orders, groups and readings
differ.
"""

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

PATH = pathlib.Path(__file__).with_name("published_results.json")


class Row(NamedTuple):
  """A published result."""

  model: str
  values: Sequence[float | None]  # in percent, of the columns; None: not published
  source: str
  caveats: Sequence[str]  # in words


class Published(NamedTuple):
  """The published results of a benchmark."""

  columns: Sequence[str]
  rows: Sequence[Row]


def of(benchmark: str) -> Published | None:
  """The published results of a benchmark; None: there are none."""
  found = _read()
  if benchmark not in found["benchmarks"]:
    return None
  table = found["benchmarks"][benchmark]
  return Published(
    table["columns"],
    [
      Row(
        row["model"],
        row["values"],
        found["sources"][row["source"]],
        [found["caveats"][name] for name in row["caveats"]],
      )
      for row in table["rows"]
    ],
  )


@functools.cache
def _read() -> dict:
  return json.loads(PATH.read_text(encoding="utf-8"))
