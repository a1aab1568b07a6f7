"""The judge model that rewards ask about a sample: a chat service, or a frozen policy."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Protocol

from cot_rm import chat
from cot_rm.rewards import Ask
from cot_rm.schema import Chat, Completion


class Complete(Protocol):
  """Completions of chats by a model with fixed weights, see Policy.complete."""

  def __call__(self, chats: Sequence[Chat], *, seed: int) -> list[list[Completion]]: ...


def of_service(client: chat.Client, sampling: chat.Sampling) -> Ask:
  """The `ask` function of a chat service. A call that failed has no reply (None).

  Args:
    client: an open client; a chat that was asked before is answered from its cache.
    sampling: settings of each call; the field `attempt` is set to the attempt that is asked for.
  """

  def ask(chats: Sequence[Chat], attempt: int) -> list[str | None]:
    replies = client.ask(chats, dataclasses.replace(sampling, attempt=attempt))
    return [reply.text for reply in replies]

  return ask


def of_frozen_policy(complete: Complete) -> Ask:
  """The `ask` function of a policy with frozen weights; replies are cached in memory.

  A reply depends on the weights, the chat and the attempt alone. So it is valid for all rollouts,
  and a resumed run, which begins with an empty cache, gets the same replies.
  """
  replies: dict[bytes, str | None] = {}

  def ask(chats: Sequence[Chat], attempt: int) -> list[str | None]:
    keys = [hashlib.sha256(json.dumps([chat, attempt]).encode()).digest() for chat in chats]
    new = {key: chat for key, chat in zip(keys, chats, strict=True) if key not in replies}
    # Called with an empty list too: other processes sample in the same call.
    groups = complete([*new.values()], seed=attempt)
    replies.update(zip(new, (group[0].text for group in groups), strict=True))
    return [replies[key] for key in keys]

  return ask
