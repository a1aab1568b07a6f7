"""How judgements are scored. To add a benchmark: write the module, add the line.

A benchmark is a module with

    MODES                                   {name: rules.Rule}: orders asked, groups; "both" is one
    score(judgements, swapped, *, mode, fidelity, contradicts) -> figures

and `examples(root)` from the files of its owners, except `pairs`, which scores any set of examples
with a gold answer. Judgements are in step with the examples, None where an order was not asked.
"""

from cot_rm import registry
from cot_rm.benchmarks import mm_rlhf_rewardbench, pairs, vl_rewardbench

BENCHMARKS = {
  "pairs": pairs,
  "vl_rewardbench": vl_rewardbench,
  "mm_rlhf_rewardbench": mm_rlhf_rewardbench,
}


def get(name):
  """The benchmark's module. Raises ValueError, with the known names, when there is none."""
  return registry.lookup(BENCHMARKS, name, "benchmark")
