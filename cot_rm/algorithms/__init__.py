"""What is optimised. To add one: write the module, add the line.

A module has `Config`, `loss(logps_BT, batch, settings) -> (scalar, metrics)` and, if it learns from
rewards, `advantages(rewards_QG, settings) -> advantages_QG`.
"""

from cot_rm.algorithms import grpo, sft

ALGORITHMS = {
  "sft": sft,
  "grpo": grpo,
}
