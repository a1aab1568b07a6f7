"""The programs of a run on a pod of TPUs, compiled without one: do they fit, and what do they send?

  python bench/compile.py [--quick] [--only sft]

Needs no TPU: libtpu compiles for v5e:8x8, 64 chips of 16 GB, with the weights over all of them
(fsdp 64), or over 16 and in parts over 4 (fsdp 16 x tensor 4). The 7b preset: float32 weights and
AdamW's moments, products in bfloat16, activations computed again in the backward pass; 64
sequences of 4,096 tokens, each with two pictures of 448 pixels; of RL 3,072 tokens of prompt and
1,024 of answer. The sampler: bfloat16, prompts of 4,096 into 64 seats, and a chunk of 64 tokens of
8 answers in each. Flops are XLA's count, loops as often as they turn, beside a count by hand.
--quick: the tiny preset on one way to share.
"""
