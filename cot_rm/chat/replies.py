"""Replies of a service: an answer, an error of one call, or an error that ends all calls."""

import dataclasses
import json
from typing import Literal, get_args

import openai

# The service answered and was paid, but not with a usable text: cached, never asked again.
FinalError = Literal["refused", "empty", "cut"]
# The call failed: it may succeed another time, and is not cached.
# The chat cannot be asked: a picture in it cannot be read. "bad" is not paid and not cached.
FailedCall = Literal["bad", "malformed", "rejected", "busy", "server", "timeout", "connection"]
FINAL_ERRORS: tuple[str, ...] = get_args(FinalError)
KINDS: tuple[str, ...] = (*FINAL_ERRORS, *get_args(FailedCall))

# Causes of an APIConnectionError (names of httpx's classes) where no connection was ever made.
_NEVER_CONNECTED = ("ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol")
_SHOWN = 300  # characters of a server's message that are shown


class Stopped(RuntimeError):
  """An error after which no further call makes sense. All answers so far are in the cache."""


class BudgetExhausted(Stopped):
  """The next call would exceed the budget."""


@dataclasses.dataclass(frozen=True)
class Reply:
  """Result of one call: a text, or an error that begins with its kind, "refused: ...".

  Kinds where the service answered without a usable text: refused, empty (no choice, or no text in
  it), cut (by max_tokens). Kinds of failed calls: bad (the chat itself: no call was made),
  malformed (the body is no chat completion), rejected (HTTP 4xx), busy (429), server (5xx),
  timeout, connection.
  """

  text: str | None
  error: str | None = None
  prompt_tokens: int = 0
  completion_tokens: int = 0
  cached: bool = False  # from the cache, or from an equal call in flight: no call was made

  def __post_init__(self) -> None:
    if self.error is not None and self.kind not in KINDS:
      raise ValueError(
        f"error is {self.error[:_SHOWN]!r}; it must begin with one of {', '.join(KINDS)}"
      )

  @property
  def kind(self) -> FinalError | FailedCall | Literal[""]:
    """The kind of the error; "" if there is none."""
    return (self.error or "").partition(":")[0]

  @property
  def final(self) -> bool:
    """Whether the service answered. If not, the same call may succeed another time."""
    return self.text is not None or self.kind in FINAL_ERRORS


def read(body: str) -> Reply:
  """Parses the JSON body of a chat completion; the Reply is its first choice."""
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


def from_error(error: openai.OpenAIError, *, model: str, base_url: str, prefix: str) -> Reply:
  """The Reply of a call that raised, after the retries of the openai package.

  Args:
    error: the exception.
    model, base_url: of the call, for the message.
    prefix: before the names of arguments in messages, e.g. "config.distill."; see client.Client.

  Raises:
    Stopped: every further call would fail too (invalid key, unknown model, empty account, no
      server at the address).
  """
  message = f"{type(error).__name__}: {str(error)[:_SHOWN]}"
  _raise_if_fatal(error, message, model=model, base_url=base_url, prefix=prefix)
  if isinstance(error, openai.RateLimitError):
    return Reply(None, f"busy: {message}")
  if isinstance(error, openai.APIConnectionError):
    timeout = isinstance(error, openai.APITimeoutError)
    return Reply(None, f"{'timeout' if timeout else 'connection'}: {error.__cause__!r}"[:_SHOWN])
  if isinstance(error, openai.APIStatusError):
    if error.status_code >= 500:
      return Reply(None, f"server: {message}")
    if error.code in ("content_filter", "content_policy_violation"):
      return Reply(None, f"refused: {message}")
    return Reply(None, f"rejected: {message}")
  return Reply(None, f"malformed: {message}")


def _raise_if_fatal(
  error: openai.OpenAIError, message: str, *, model: str, base_url: str, prefix: str
) -> None:
  if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
    raise Stopped(
      f"{base_url} does not accept the key: {message}\nset the environment variable that "
      f"{prefix}endpoint.key names and run the same command again; all answers so far are cached"
    ) from error
  if isinstance(error, openai.APIError) and error.code == "insufficient_quota":
    raise Stopped(f"{base_url}: the account is empty: {message}") from error
  if isinstance(error, openai.NotFoundError):
    raise Stopped(
      f"{base_url} knows no model {model!r}, or the path is wrong: {message}\n"
      f"set {prefix}model, or {prefix}endpoint.base_url, which usually ends in /v1"
    ) from error
  never = type(error.__cause__).__name__ in _NEVER_CONNECTED
  if isinstance(error, openai.APIConnectionError) and never:
    raise Stopped(
      f"no server answers at {base_url}: {error.__cause__!r}\nset {prefix}endpoint.base_url and "
      "run the same command again; all answers so far are cached"
    ) from error
