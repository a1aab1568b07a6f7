"""The judge model that rewards ask: a service, or a frozen policy."""

import types

from cot_rm import chat, reward_judge


def test_the_frozen_policy_is_asked_nothing_twice():
  asked = []

  def complete(chats, seed):
    asked.append((chats, seed))
    return [[types.SimpleNamespace(text=f"{chat} {seed} {len(asked)}")] for chat in chats]

  ask = reward_judge.of_frozen_policy(complete)
  assert ask(["a", "b", "a"], 1) == ["a 1 1", "b 1 1", "a 1 1"]
  assert ask(["c", "a"], 1) == ["c 1 2", "a 1 1"] and ask(["a"], 2) == ["a 2 3"]
  assert ask(["b"], 1) == ["b 1 1"]
  assert asked == [(["a", "b"], 1), (["c"], 1), (["a"], 2), ([], 1)]


class Client:
  """A service that replies with the attempt, and fails for the chat "b"."""

  def ask(self, chats, sampling):
    assert sampling.temperature == 0.5
    return [
      chat.Reply(None, "refused: no") if c == "b" else chat.Reply(f"{c} {sampling.attempt}")
      for c in chats
    ]


def test_a_service_is_asked_with_the_number_of_the_attempt():
  ask = reward_judge.of_service(Client(), chat.Sampling(temperature=0.5, seed=None))
  assert ask(["a", "b"], 1) == ["a 1", None] and ask(["a"], 3) == ["a 3"]
