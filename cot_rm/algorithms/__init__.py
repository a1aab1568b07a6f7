"""What is optimised. To add one: write the module, add the line.

A module has `Config` and `loss(logps_BT, batch, weights_BT, settings) -> (scalar, metrics)`, where
weights_BT are the tokens' weights in the mean over the whole batch (aggregation.weights): of a
part of the batch, the loss is that part's share. If it learns from rewards it also has

    advantages(rewards_QG, lengths_QG, settings, kl_QGT=None) -> f32[Q, G] or f32[Q, G, T]
    KL_IN    "loss" or "reward": where `settings.kl`, the pull towards the reference, comes in

and its Config has `kl`, `aggregate` and `max_tokens`. lengths_QG counts the tokens of the answers;
kl_QGT, which only those with KL_IN "reward" read, and only where settings.kl is not 0, is the
log-ratio of the policy that sampled to the reference at each token.
"""

from cot_rm.algorithms import grpo, reinforce_pp, rloo, sft, stable_reinforce

ALGORITHMS = {
  "sft": sft,
  "grpo": grpo,
  "rloo": rloo,
  "reinforce_pp": reinforce_pp,
  "stable_reinforce": stable_reinforce,
}
