"""A judge: a policy that compares preference pairs; the public face of the package."""

from cot_rm.judge.asking import READS, Judgement, Read, opening_tokens
from cot_rm.judge.face import Judge
from cot_rm.judge.loading import DTYPES, Dtype, load

__all__ = ["DTYPES", "READS", "Dtype", "Judge", "Judgement", "Read", "load", "opening_tokens"]
