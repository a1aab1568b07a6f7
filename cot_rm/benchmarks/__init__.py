"""How judgements are scored. To add a benchmark: write the module, add the line.

A benchmark has `examples(root)` and `score(...)`; `pairs` scores any set of examples with a gold
answer, asked in both orders.
"""

from cot_rm.benchmarks import pairs

BENCHMARKS = {
  "pairs": pairs,
}
