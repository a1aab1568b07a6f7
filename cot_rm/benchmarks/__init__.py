"""Benchmarks: their pairs, and the scoring of judgements about the pairs.

To add one: write its module, add it to PUBLIC or to BY_LAYOUT.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from cot_rm import registry
from cot_rm.benchmarks import (
  genai_bench,
  mm_rlhf_rewardbench,
  mmrb2,
  multimodal_rewardbench,
  pairs,
  rules,
  sharegptvideo,
  videogen_rewardbench,
  vl_rewardbench,
)
from cot_rm.schema import Example


class Benchmark(Protocol):
  """The interface of a benchmark module. `pairs` scores any examples with gold answers."""

  MODES: dict[str, rules.Rule]  # the orders asked, and the groups; "both" is one of the modes

  def score(
    self,
    judgements: pairs.Judgements,
    swapped: pairs.Judgements,
    *,
    mode: str = "both",
    fidelity: pairs.Fidelity | None = None,
    contradicts: pairs.Contradicts | None = None,
  ) -> pairs.Figures:
    """The figures of judgements, one per example in order; see `pairs.tally`."""
    ...


class PublicBenchmark(Benchmark, Protocol):
  """The interface of a benchmark whose pairs are read from its owners' files."""

  def examples(self, root: str | pathlib.Path) -> Sequence[Example]:
    """The pairs, with their gold answers, from the files under `root`."""
    ...


class LayoutBenchmark(Benchmark, Protocol):
  """The interface of a benchmark whose pairs are read by a layout of data.datasets.

  The order of a record's candidates is the published one, where the data have one.
  """

  NAME: str
  NEEDS: str  # what has to be downloaded, in a few words
  LAYOUT: str  # of datasets.ADAPTERS; pairs that people call equal are kept
  FILES: tuple[str, ...]  # patterns; the files of the first that matches any are read
  SIZES: Mapping[str, range]  # {of which files: number of pairs}


PUBLIC: dict[str, PublicBenchmark] = {
  "vl_rewardbench": vl_rewardbench,
  "mm_rlhf_rewardbench": mm_rlhf_rewardbench,
  "mmrb2": mmrb2,
}
BY_LAYOUT: dict[str, LayoutBenchmark] = {
  "multimodal_rewardbench": multimodal_rewardbench,
  "genai_bench": genai_bench,
  "videogen_rewardbench": videogen_rewardbench,
  "sharegptvideo": sharegptvideo,
}
BENCHMARKS: dict[str, Benchmark] = {"pairs": pairs, **PUBLIC, **BY_LAYOUT}


def get(name: str) -> Benchmark:
  """The benchmark's module. Raises ValueError on an unknown name."""
  return registry.lookup(BENCHMARKS, name, "benchmark")
