"""A judge: a policy that compares preference pairs; the public face of the package."""

from cot_rm.judge.asking import Judgement
from cot_rm.judge.face import Judge
from cot_rm.judge.loading import DTYPES, Dtype, load

__all__ = ["DTYPES", "Dtype", "Judge", "Judgement", "load"]
