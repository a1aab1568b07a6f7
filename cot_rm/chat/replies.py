"""What comes back from a service: an answer, what went wrong with one call, or the end of all."""

import dataclasses
import json

import openai

# What the service did say, and was paid for: kept, and not asked again.
FINAL = ("refused", "empty", "cut")
# What httpx, under the openai package, calls a connection that never came about.
_NEVER_CONNECTED = ("ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol")
_SHOWN = 300  # characters of a server's words in an error


class Stopped(RuntimeError):
  """Why no further call makes sense. What was answered is in the cache."""


class BudgetSpent(Stopped):
  """The budget leaves no room for another call."""


@dataclasses.dataclass(frozen=True)
class Reply:
  """What one call brought: a text, or an error that begins with its kind, "refused: ...".

  Kinds of what the service said: refused, empty (no choice, or no text in it), cut (by max_tokens).
  Kinds of a call that failed: malformed (no chat completion), rejected (4xx), busy (429), server
  (5xx), timeout, connection.
  """

  text: str | None
  error: str | None = None
  prompt_tokens: int = 0
  completion_tokens: int = 0
  cached: bool = False  # it was there already: no call was made

  @property
  def kind(self):
    """The kind of the error; "" where there is a text."""
    return (self.error or "").partition(":")[0]

  @property
  def final(self):
    """Whether the service did answer. If not, the same call may have an answer another time."""
    return self.text is not None or self.kind in FINAL


def read(body):
  """The Reply in the body of a chat completion (text): its first choice."""
  try:
    completion = json.loads(body)
    usage = completion.get("usage") or {}
    tokens = [int(usage.get(f"{side}_tokens") or 0) for side in ("prompt", "completion")]
    if not completion["choices"]:
      return Reply(None, "empty: no choice", *tokens)
    message = completion["choices"][0]["message"]
    text, refusal = message.get("content"), message.get("refusal")
    finish = completion["choices"][0].get("finish_reason")
  except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
    shown = f"{type(error).__name__} in {body[:_SHOWN]!r}"
    return Reply(None, f"malformed: no chat completion: {shown}")
  if refusal or finish == "content_filter":
    return Reply(None, f"refused: {str(refusal or 'content filter')[:_SHOWN]}", *tokens)
  if finish == "length":
    return Reply(None, f"cut: after {tokens[1]} tokens; raise max_tokens", *tokens)
  if text is not None and not isinstance(text, str):
    return Reply(None, f"malformed: a content of type {type(text).__name__}")
  if not (text or "").strip():
    return Reply(None, "empty: no text", *tokens)
  return Reply(text, None, *tokens)


def failed(error, *, model, base_url, where):
  """The Reply of a call that ended in an openai.OpenAIError, after the package's own retries.

  Args:
    where: the section of the config that the client was made from, for the message.
  Raises Stopped where the next call would end in the same way: wrong key, no such model, no money
  left, nobody there.
  """
  said = f"{type(error).__name__}: {str(error)[:_SHOWN]}"
  code = error.code if isinstance(error, openai.APIError) else None
  if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
    raise Stopped(
      f"{base_url} does not accept the key: {said}\nset the environment variable that "
      f"{where}.endpoint.key names; what was answered is kept, the same command goes on"
    ) from error
  if code == "insufficient_quota":
    raise Stopped(f"{base_url}: the account is empty: {said}") from error
  if isinstance(error, openai.NotFoundError):
    raise Stopped(
      f"{base_url} knows no model {model!r}, or the path is wrong: {said}\n"
      f"set {where}.model, or {where}.endpoint.base_url, which mostly ends in /v1"
    ) from error
  if isinstance(error, openai.RateLimitError):
    return Reply(None, f"busy: {said}")
  if isinstance(error, openai.APIConnectionError):
    if type(error.__cause__).__name__ in _NEVER_CONNECTED:
      raise Stopped(
        f"nobody answers at {base_url}: {error.__cause__!r}\nset {where}.endpoint.base_url; what "
        "was answered is kept, the same command goes on"
      ) from error
    timeout = isinstance(error, openai.APITimeoutError)
    return Reply(None, f"{'timeout' if timeout else 'connection'}: {error.__cause__!r}"[:_SHOWN])
  if isinstance(error, openai.APIStatusError):
    if error.status_code >= 500:
      return Reply(None, f"server: {said}")
    if code in ("content_filter", "content_policy_violation"):
      return Reply(None, f"refused: {said}")
    return Reply(None, f"rejected: {said}")
  return Reply(None, f"malformed: {said}")
