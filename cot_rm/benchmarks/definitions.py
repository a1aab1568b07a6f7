"""What each figure is, in words, and how many it is over: a number alone can mean anything."""

WORDS = {
  "accuracy": "share of right verdicts, an unparsable one is wrong (of pairs)",
  "first_slot_accuracy": "the same where the better one stands first (of verdicts)",
  "order_consistency": "share of pairs whose two orders name the same candidate (of pairs)",
  "parse_rate": "share of verdicts inside the grammar (of verdicts)",
  "accuracy_parsed": "share of right ones among verdicts inside the grammar (of those)",
  "verdict_slots": "share of verdicts for the candidate that stands first (of those parsed)",
  "mean_length": "tokens of an answer, mean (of answers)",
  "cut": "share of answers that reached the limit of tokens (of answers)",
  "fidelity": "how much is true of the scene that an answer describes, mean (of answers)",
  "contradictions": "share of answers whose reasoning is against their verdict (of those parsed)",
  "contradictions_decided": "share of answers of which that can be said (of those parsed)",
  "accuracy_plus": "share of questions of which every pair is right (of questions)",
  "accuracy_pictures": "mean of the accuracies of the families without video (of families)",
  "accuracy_macro": "mean of the groups' accuracies (of groups)",
  "families": "share of right verdicts, an unparsable one is wrong (of pairs)",
  "families_plus": "share of questions of which every pair is right (of questions)",
  "vote": "chance that the majority of k samples is right, over all subsets of k (of pairs)",
  "vote_plus": "share of questions of which every pair is voted right (of questions)",
  "any": "chance that one of k samples is right, over all subsets of k (of pairs)",
  "blank_accuracy": "accuracy where every picture is blank (of pairs)",
  "blank_accuracy_parsed": "accuracy_parsed where every picture is blank (of those parsed)",
}


def of(counts, said):
  """{figure: {"what": in words, "n": how many it is over}}.

  Args:
    counts: {figure: n}; "families/mcq" is of the kind "families".
    said: the orders and groups in words, as rules.Rule has them.
  """
  what = lambda name: f"{WORDS[name.partition('/')[0]]}; {said}"
  return {name: {"what": what(name), "n": int(n)} for name, n in counts.items()}
