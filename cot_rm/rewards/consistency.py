"""Whether the verdict follows from the reasoning: by its own scores, else as a judge model says.

A reasoning scores both candidates in up to three ways, its accounts: the sum of its scores by
dimension, the sum of the terms of its totals, and its totals as written. Each account points to the
candidate with more points, or to a tie. The verdict follows if every account points to the
verdict's candidate. A tied account supports no verdict, and wrong sums count if they change which
candidate is ahead. If there is no account, the judge model gets R1-Reward's question
(arXiv:2505.02835): whether the last three lines of the reasoning agree with the verdict; it sees no
picture.
"""

import math
from collections.abc import Sequence

from cot_rm.prompts import Grammar, template
from cot_rm.rewards import each
from cot_rm.schema import Completion, Example, Message, Sheet, Task, Verdict

TRIES = 3  # how often the judge model is asked, at most, until its reply has a 1 or a 0
NO_JUDGE = "no scores decide it, and there is no judge to ask"
NO_ANSWER = "the judge gave no answer"
UNREADABLE = f"the judge said neither 1 nor 0 in {TRIES} tries"


def contradicts(text: str, task: Task, grammar: Grammar) -> bool | None:
  """Whether the verdict of a judgement's text is against its own scores or totals.

  True if any account favours the other candidate, False if none does; None if the text is outside
  the grammar, or has no account.
  """
  verdict = grammar.parse(text, task)
  if verdict.answer is None:
    return None
  pointed = leanings(verdict.sheet)
  return 3 - verdict.answer in pointed if pointed else None


def leanings(sheet: Sheet | None) -> set[int]:
  """The candidates to which the accounts of a reasoning point: 1, 2, or 0 for a tie.

  Empty if the reasoning has no account; see the module's docstring for accounts.
  """
  if sheet is None:
    return set()
  accounts: list[tuple[float, float]] = [sheet.totals] if sheet.totals else []
  if sheet.addends:
    first, second = sheet.addends
    accounts.append((sum(first), sum(second)))
  # Missing totals are a fault of their own; any other fault means an unreadable score.
  if sheet.scores and len(sheet.faults) == (sheet.addends is None):
    accounts.append((sum(one for _, one, _ in sheet.scores), sum(two for *_, two in sheet.scores)))
  return {_ahead(*account) for account in accounts}


def reward(
  completions: Sequence[Completion],
  verdicts: Sequence[Verdict],
  examples: Sequence[Example],
  grammar: Grammar,
  ask: each.Ask | None,
) -> list[float | str]:
  """1.0 where the verdict follows, 0.0 where it does not, or the reason why it is unknown.

  A text outside its grammar, and a verdict without any reasoning, get 0.0.
  """
  decided = each.values(_decided, completions, verdicts, examples, grammar)
  out: list[float | str] = [NO_JUDGE if value is None else value for value in decided]
  open_ = [i for i, value in enumerate(decided) if value is None]
  for attempt in range(1, TRIES + 1 if ask is not None else 1):
    if not open_ or ask is None:
      break
    chats = [chat(completions[i].text, verdicts[i], examples[i].task, grammar) for i in open_]
    for i, reply in zip(open_, ask(chats, attempt), strict=True):
      out[i] = NO_ANSWER if reply is None else read_reply(reply)
    open_ = [i for i in open_ if out[i] == UNREADABLE]
  return out


def paper(right: float | str, consistent: float | str) -> float | str:
  """Result x Consistency of the paper, in {0, 1}; from the values of the two rewards."""
  if right == 0:
    return 0.0  # whether or not consistency is known
  for value in (right, consistent):
    if isinstance(value, str):
      return value
  return float(right) * float(consistent)


def released(right: float | str, consistent: float | str) -> float | str:
  """Result x Consistency of the released code, where consistency is 1 or -1, 0 if UNREADABLE.

  A wrong verdict gets 0. As in `paper`, any other value that is unknown is returned as its reason.
  """
  if consistent == UNREADABLE:
    return paper(right, 0.0)
  return paper(right, consistent if isinstance(consistent, str) else 2 * consistent - 1)


def chat(text: str, verdict: Verdict, task: Task, grammar: Grammar) -> list[Message]:
  """The judge model's chat about a judgement inside its grammar, given its text and verdict."""
  if verdict.answer is None:
    raise ValueError(f"consistency.chat: the text is outside its grammar: {verdict.error}")
  stated = grammar.solution(task, verdict.answer)
  values = {
    "response": ";".join(text.partition("<answer>")[0].strip().split("\n")[-3:]),
    "answer": f"response {stated} is better" if stated in ("1", "2") else stated,
  }
  prompt = template.fill(template.text("r1_reward_consistency"), values)
  return [{"role": "user", "content": [{"type": "text", "text": prompt}]}]


def read_reply(reply: str) -> float | str:
  """1.0, 0.0 or UNREADABLE, by the released rule: a 0 anywhere outweighs a 1 ("10" is 0.0)."""
  if "0" in reply:
    return 0.0
  return 1.0 if "1" in reply else UNREADABLE


def _decided(
  completion: Completion, verdict: Verdict, example: Example, grammar: Grammar
) -> float | None:
  """The reward if the text alone decides it; None if the judge model must be asked."""
  if verdict.answer is None or not verdict.reasoning.strip():
    return 0.0
  pointed = leanings(verdict.sheet)
  return float(pointed == {verdict.answer}) if pointed else None


def _ahead(first: float, second: float) -> int:
  if math.isclose(first, second, abs_tol=1e-6):
    return 0
  return 1 if first > second else 2
