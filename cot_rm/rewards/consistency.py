"""Whether the verdict follows from the reasoning: by its own scores, else as a judge model says.

Three accounts of a reasoning point to a candidate or to a tie: its scores by dimension added up,
the numbers that its totals add up, and its totals as written. The verdict follows where every
account that there is points to the candidate that it names. An account that ties supports nothing,
and sums that are wrong count where they change which candidate is ahead. Without any account the
judge model is asked what R1-Reward asks its own (arXiv:2505.02835): text alone, the last three
lines of the reasoning against the verdict.
"""

import math

from cot_rm.prompts import template
from cot_rm.rewards import each

TRIES = 3  # of the judge model, until it says 1 or 0
NOBODY = "no scores decide it, and there is no judge to ask"
SILENT = "the judge gave no answer"
UNREADABLE = f"the judge said neither 1 nor 0 in {TRIES} tries"


def contradicts(text, task, grammar):
  """Whether a judgement's verdict is against its own scores or totals.

  True where some account of them is in favour of the other candidate; False where none is; None
  where the text is outside the grammar, or has no account in which both candidates are scored.
  """
  verdict = grammar.parse(text, task)
  if verdict.answer is None:
    return None
  pointed = leanings(verdict.reasoning, task, grammar)
  return 3 - verdict.answer in pointed if pointed else None


def leanings(reasoning, task, grammar):
  """The set of what the accounts point to: 1, 2, or 0 for a tie. Empty where there is none."""
  if not hasattr(grammar, "sheet"):
    return set()
  sheet = grammar.sheet(reasoning, task)
  accounts = [sheet.totals] if sheet.totals else []
  if sheet.addends:
    accounts.append(tuple(map(sum, sheet.addends)))
  # Missing totals are a fault of their own; any other one says that a score could not be read.
  if sheet.scores and len(sheet.faults) == (sheet.addends is None):
    accounts.append(tuple(sum(scored[side] for scored in sheet.scores) for side in (1, 2)))
  return {_ahead(*account) for account in accounts}


def reward(completions, examples, grammar, ask):
  """1.0 where the verdict follows, 0.0 where it does not, or the reason why nobody knows.

  A text outside its grammar, and a verdict without any reasoning, follow from nothing: 0.0.
  """
  out = each.values(_decided, completions, examples, grammar)
  left = [i for i, value in enumerate(out) if value is None]
  for i in left:
    out[i] = NOBODY
  for attempt in range(1, TRIES + 1 if ask is not None else 1):
    if not left:
      break
    chats = [chat(completions[i].text, examples[i].task, grammar) for i in left]
    for i, reply in zip(left, ask(chats, attempt), strict=True):
      out[i] = SILENT if reply is None else said(reply)
    left = [i for i in left if out[i] == UNREADABLE]
  return out


def paper(right, consistent):
  """Result x Consistency of the paper, in {0, 1}; from the values of the two rewards."""
  if right == 0:
    return 0.0  # whatever is known of its reasoning
  reasons = [value for value in (right, consistent) if isinstance(value, str)]
  return reasons[0] if reasons else right * consistent


def released(right, consistent):
  """Result x Consistency of the released code, in {1, -1}; 0 where the judge is UNREADABLE."""
  if consistent == UNREADABLE:
    return paper(right, 0.0)
  return paper(right, consistent if isinstance(consistent, str) else 2 * consistent - 1)


def chat(text, task, grammar):
  """What the judge model is asked of a judgement that is inside its grammar."""
  stated = grammar.solution(task, grammar.parse(text, task).answer)
  values = {
    "response": ";".join(text.partition("<answer>")[0].strip().split("\n")[-3:]),
    "answer": f"response {stated} is better" if stated in ("1", "2") else stated,
  }
  prompt = template.fill(template.text("r1_reward_consistency"), values)
  return [{"role": "user", "content": [{"type": "text", "text": prompt}]}]


def said(reply):
  """1.0, 0.0 or UNREADABLE, by the released rule: a 0 anywhere outweighs a 1 ("10" is 0.0)."""
  if "0" in reply:
    return 0.0
  return 1.0 if "1" in reply else UNREADABLE


def _decided(completion, example, grammar):
  """The reward as far as the text alone decides it; None where the judge has to."""
  verdict = grammar.parse(completion.text, example.task)
  if verdict.answer is None or not verdict.reasoning.strip():
    return 0.0
  pointed = leanings(verdict.reasoning, example.task, grammar)
  return float(pointed == {verdict.answer}) if pointed else None


def _ahead(first, second):
  if math.isclose(first, second, abs_tol=1e-6):
    return 0
  return 1 if first > second else 2
