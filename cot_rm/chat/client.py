"""Asynchronous client of a service that speaks the OpenAI protocol."""

import asyncio
import concurrent.futures
import dataclasses
import os
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Sequence

import openai

from cot_rm import registry
from cot_rm.chat import budget as budgets
from cot_rm.chat import cache as caches
from cot_rm.chat import pictures as picture_encoding
from cot_rm.chat import replies
from cot_rm.schema import BadExample, Chat

LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0")


@dataclasses.dataclass(frozen=True)
class Endpoint:
  """Address of the service, and how calls are made. No field changes an answer.

  Raises ValueError on a value out of range.
  """

  base_url: str  # such as https://api.openai.com/v1
  key: str = "OPENAI_API_KEY"  # environment variable that holds the key; not needed on localhost
  concurrency: int = 16  # most calls in flight
  retries: int = 5  # of a call after HTTP 408, 409, 429, 5xx or a lost connection
  request_timeout: float = 120.0  # seconds of one try
  timeout: float = 400.0  # seconds of a call, its retries and the pauses between them included
  limit_field: str = "max_tokens"  # request field of the token limit; or "max_completion_tokens"

  def __post_init__(self) -> None:
    if urllib.parse.urlsplit(self.base_url).scheme not in ("http", "https"):
      raise ValueError(
        f"endpoint.base_url is {self.base_url!r}; it must begin with http:// or https://"
      )
    if self.limit_field not in LIMIT_FIELDS:
      hint = registry.hint(self.limit_field, LIMIT_FIELDS)
      raise ValueError(f"endpoint.limit_field is {self.limit_field!r}; {hint}")
    if self.concurrency < 1:
      raise ValueError(f"endpoint.concurrency is {self.concurrency}; it must be 1 or more")
    if self.retries < 0:
      raise ValueError(f"endpoint.retries is {self.retries}; it must be 0 or more")
    for name in ("timeout", "request_timeout"):
      if getattr(self, name) <= 0:
        raise ValueError(f"endpoint.{name} is {getattr(self, name)}; it must be above 0 seconds")

  @property
  def local(self) -> bool:
    """Whether the service is on this machine, where it needs no key."""
    return urllib.parse.urlsplit(self.base_url).hostname in _LOCAL_HOSTS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """How a chat is answered. All fields are part of the cache key: do not rename or add any."""

  attempt: int = 1  # number of the attempt at this chat: another number is another call
  temperature: float
  max_tokens: int = 4096  # of an answer
  seed: int | None  # sent as seed + attempt; None: not sent (not all services know it)


class _LimitReached(Exception):
  """Raised inside the client by a call that would exceed a limit of the budget."""

  def __init__(self, limit: budgets.Limit):
    super().__init__(limit)
    self.limit: budgets.Limit = limit


class Client:
  """Asks chats of a service. A call whose answer is in the cache is not made.

  Calls run in a thread of their own, beside other work. Use it in a `with` statement.

  Args:
    model: the service's name of the model.
    cache: path of the answer cache, an sqlite file; made if it does not exist.
    endpoint: address of the service, concurrency, retries and timeouts.
    budget: limits on all calls in the cache; None: no limits.
    pictures: size and quality of the pictures that are sent; None: the defaults.
    where: section of the config that the settings came from, e.g. "config.distill"; messages then
      name its knobs. None: messages name the arguments of this class.
  """

  def __init__(
    self,
    model: str,
    *,
    cache: str | os.PathLike[str],
    endpoint: Endpoint,
    budget: budgets.Budget | None = None,
    pictures: picture_encoding.Pictures | None = None,
    where: str | None = None,
  ):
    self.model, self.endpoint, self.budget = model, endpoint, budget or budgets.Budget()
    self._pictures = pictures or picture_encoding.Pictures()
    self._prefix = f"{where}." if where else ""  # of the names in messages
    self._cache = caches.Cache(cache)
    self.usage: budgets.Usage = self._cache.usage()  # of all answers in the cache
    self._api: openai.AsyncOpenAI | None = None  # opened by the first call that is not cached
    self._in_flight = 0
    self._calls: dict[str, asyncio.Task] = {}  # key of a call in flight: its task
    self._free = asyncio.Semaphore(endpoint.concurrency)
    self._loop = asyncio.new_event_loop()
    self._thread = threading.Thread(target=self._loop.run_forever, name="chat", daemon=True)
    self._thread.start()

  @property
  def dollars(self) -> float:
    """Cost of all answers in the cache, by the prices of the budget."""
    return self.budget.cost(self.usage)

  def ask(
    self,
    chats: Iterable[Chat | BadExample],
    sampling: Sampling,
    *,
    names: Sequence[str] | None = None,
    progress: Callable[[int, replies.Reply], None] | None = None,
  ) -> list[replies.Reply]:
    """Asks all chats and waits; the Replies are in the order of the chats. See `start`."""
    return self.start(chats, sampling, names=names, progress=progress).result()

  def start(
    self,
    chats: Iterable[Chat | BadExample],
    sampling: Sampling,
    *,
    names: Sequence[str] | None = None,
    progress: Callable[[int, replies.Reply], None] | None = None,
  ) -> "concurrent.futures.Future[list[replies.Reply]]":
    """Begins to ask all chats; the Future's result is the Replies, in the order of the chats.

    Args:
      chats: as prompts.render makes them. The iterable is read in the client's thread, as calls
        become free, so that no more pictures are in memory than calls are in flight. A BadExample
        stands for a chat that could not be made: its Reply is "bad".
      sampling: settings of all calls.
      names: name of each chat in error messages, e.g. "example 'vl-17'"; None: "chat 0", ...
      progress: called in the client's thread with (index of the chat, Reply) when a Reply is there.

    Raises (by the Future, after all calls in flight have been answered and cached):
      BudgetExhausted: the next call would exceed the budget.
      Stopped: no further call makes sense; see replies.from_error and cache.Cache.
    """
    return asyncio.run_coroutine_threadsafe(self._all(chats, sampling, names, progress), self._loop)

  async def _all(self, chats, sampling, names, progress) -> list[replies.Reply]:
    tasks, failed = [], asyncio.Event()

    async def ask_one(index, chat):
      try:
        name = names[index] if names else f"chat {index}"
        reply = await self._one(chat, sampling, name)
        if progress:
          progress(index, reply)
        return reply
      except BaseException:
        failed.set()
        raise
      finally:
        self._free.release()

    try:
      for index, chat in enumerate(chats):
        await self._free.acquire()
        if failed.is_set():
          self._free.release()
          break
        tasks.append(asyncio.create_task(ask_one(index, chat)))
    finally:  # calls in flight are paid for: wait for their answers, and cache them
      results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
      if isinstance(result, _LimitReached):
        raise self._budget_exhausted(result.limit)
      if isinstance(result, BaseException):
        raise result
    return results

  def _budget_exhausted(self, limit: budgets.Limit) -> replies.BudgetExhausted:
    return replies.BudgetExhausted(
      f"the budget is exhausted: {self.usage.calls:,} calls, {self.usage.tokens:,} tokens, "
      f"{self.dollars:.2f} dollars; {self._prefix}budget.{limit} is {getattr(self.budget, limit)}. "
      "All answers so far are cached: raise the limit and run the same command again"
    )

  async def _one(self, chat: Chat, sampling: Sampling, name: str) -> replies.Reply:
    """The Reply to one chat: from the cache, from an equal call in flight, or from a new call."""
    try:
      if isinstance(chat, BadExample):
        raise chat
      messages = await asyncio.to_thread(
        picture_encoding.openai_messages, chat, self._pictures, name=name
      )
    except BadExample as error:
      return replies.Reply(None, f"bad: {error}")
    key = caches.key(self.model, messages, dataclasses.asdict(sampling))
    if cached := self._cache.get(key):
      return cached
    if key in self._calls:
      return dataclasses.replace(await asyncio.shield(self._calls[key]), cached=True)
    self._calls[key] = asyncio.create_task(self._call(key, messages, sampling))
    try:
      return await self._calls[key]
    finally:
      del self._calls[key]

  async def _call(self, key: str, messages: Chat, sampling: Sampling) -> replies.Reply:
    if limit := self.budget.exceeded_by_next_call(self.usage, self._in_flight):
      raise _LimitReached(limit)  # the message has the usage after the last call in flight
    self._in_flight += 1
    try:
      reply = await self._answer(messages, sampling)
      if reply.final:
        self.usage = self.usage.plus(reply.prompt_tokens, reply.completion_tokens)
        self._cache.put(key, self.model, reply)
    finally:
      self._in_flight -= 1
    return reply

  async def _answer(self, messages: Chat, sampling: Sampling) -> replies.Reply:
    endpoint = self.endpoint
    self._api = self._api or self._open()
    body = {endpoint.limit_field: sampling.max_tokens}
    if sampling.seed is not None:
      body["seed"] = sampling.seed + sampling.attempt
    try:
      async with asyncio.timeout(endpoint.timeout):
        # Raw: a body that is no chat completion must not be read as an empty completion.
        raw = await self._api.chat.completions.with_raw_response.create(
          model=self.model,
          messages=messages,
          temperature=sampling.temperature,
          extra_body=body,
        )
    except TimeoutError:
      return replies.Reply(None, f"timeout: no answer in {endpoint.timeout:g} seconds")
    except openai.OpenAIError as error:
      return replies.from_error(
        error, model=self.model, base_url=endpoint.base_url, prefix=self._prefix
      )
    return replies.read(raw.http_response.text)

  def _open(self) -> openai.AsyncOpenAI:
    endpoint = self.endpoint
    local = endpoint.local
    key = os.environ.get(endpoint.key, "none" if local else "")
    if not key:
      raise replies.Stopped(
        f"no key for {endpoint.base_url}: set the environment variable {endpoint.key}, or name "
        f"another variable in {self._prefix}endpoint.key; a server that needs no key accepts any"
      )
    return openai.AsyncOpenAI(
      base_url=endpoint.base_url,
      api_key=key,
      max_retries=endpoint.retries,
      timeout=endpoint.request_timeout,
      # A proxy from the environment, which httpx would use, cannot reach this machine.
      http_client=openai.DefaultAsyncHttpxClient(trust_env=False) if local else None,
    )

  def close(self) -> None:
    """Cancels the calls in flight and closes the cache. May be called twice."""
    if self._loop.is_closed():
      return
    asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
    self._loop.call_soon_threadsafe(self._loop.stop)
    self._thread.join()
    self._loop.close()
    self._cache.close()

  async def _end(self) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
      task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    if self._api:
      await self._api.close()

  def __enter__(self) -> "Client":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()
