"""Objectives of a train step. To add an RL algorithm: write its module, add it to ALGORITHMS.

The module has the members of interface.Algorithm: `Config`, `KL_IN`, `loss` and `advantages`. sft
is an objective without advantages, and so not in the table.
"""

from typing import Any

from cot_rm.algorithms import grpo, interface, reinforce_pp, rloo, stable_reinforce

ALGORITHMS: dict[str, interface.Algorithm[Any]] = {
  "grpo": grpo,
  "rloo": rloo,
  "reinforce_pp": reinforce_pp,
  "stable_reinforce": stable_reinforce,
}
