"""The client: many calls at once to a service that speaks the OpenAI protocol."""

import asyncio
import dataclasses
import os
import threading
import urllib.parse

import openai

from cot_rm.chat import budget as budgets
from cot_rm.chat import cache as caches
from cot_rm.chat import pictures as picturing
from cot_rm.chat import replies

_HERE = ("localhost", "127.0.0.1", "::1", "0.0.0.0")


@dataclasses.dataclass(frozen=True)
class Endpoint:
  """Where the service is and how hard it is asked. Nothing here changes an answer."""

  base_url: str = "https://api.openai.com/v1"
  key: str = "OPENAI_API_KEY"  # the environment variable that holds the key; on this machine none
  concurrency: int = 16  # calls at a time
  retries: int = 5  # of one call, after 408, 409, 429, 5xx or a lost connection; by the package
  request_timeout: float = 120.0  # seconds for one try
  timeout: float = 400.0  # seconds for a call in all, its retries and their pauses included
  limit_field: str = "max_tokens"  # some services want "max_completion_tokens"

  def __post_init__(self):
    if urllib.parse.urlsplit(self.base_url).scheme not in ("http", "https"):
      raise ValueError(
        f"endpoint.base_url is {self.base_url!r}; it begins with http:// or https://"
      )
    if self.concurrency < 1 or self.retries < 0:
      raise ValueError("endpoint.concurrency must be 1 or more, endpoint.retries 0 or more")
    if self.timeout <= 0 or self.request_timeout <= 0:
      raise ValueError("endpoint.timeout and endpoint.request_timeout are seconds, above 0")


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How a chat is answered. All of it is part of the call's name in the cache."""

  attempt: int = 1  # which try at this chat: another number is another call
  temperature: float = 0.0  # always sent
  max_tokens: int = 4096  # of an answer
  seed: int | None = None  # sent as seed + attempt; None where the service has no such field


class Client:
  """Asks chats. A call whose answer is in the cache is not made, and needs no service at all.

  Works in a thread of its own, so that calls run beside other work. Use it in `with`.

  Args:
    model: the service's name for it.
    cache: path of the file of answers.
    endpoint: where the service is.
    budget, pictures: settings; None: the defaults.
    where: the section of the config that these came from, for messages.
  """

  def __init__(
    self,
    model,
    *,
    cache,
    endpoint,
    budget=None,
    pictures=None,
    where="config",
  ):
    self.model, self.endpoint, self.budget = model, endpoint, budget or budgets.Budget()
    self._pictures, self._where = pictures or picturing.Pictures(), where
    self._cache = caches.Cache(cache)
    self.spent = self._cache.spent()  # of all answers in the cache, those of earlier runs included
    self._api = None  # opened by the first call that the cache cannot answer
    self._in_flight = 0
    self._asking = {}  # name of a call -> its task
    self._slots = asyncio.Semaphore(endpoint.concurrency)
    self._loop = asyncio.new_event_loop()
    self._thread = threading.Thread(target=self._loop.run_forever, name="chat", daemon=True)
    self._thread.start()

  @property
  def dollars(self):
    """What all the answers in the cache have cost."""
    return self.budget.cost(self.spent)

  def ask(self, chats, sampling, *, names=None, progress=None):
    """What `start` will have: the list of Replies, in the order of the chats."""
    return self.start(chats, sampling, names=names, progress=progress).result()

  def start(self, chats, sampling, *, names=None, progress=None):
    """Begins to ask, and returns a concurrent.futures.Future of the list of Replies.

    Args:
      chats: an iterable of chats, lists of messages as prompts.render makes them. It is read as
        calls become free, in the client's thread, so that no more pictures are open than that.
      sampling: Sampling.
      names: how errors call each chat.
      progress: called with (number of the chat, Reply) as each is there, in the client's thread.
    Raises, by result(), after all that was in flight has been kept:
      BudgetSpent: the budget leaves no room. Stopped: no use in going on; see replies.failed.
      ValueError: a picture that cannot be read, naming its chat.
    """
    return asyncio.run_coroutine_threadsafe(self._all(chats, sampling, names, progress), self._loop)

  async def _all(self, chats, sampling, names, progress):
    tasks, trouble = [], asyncio.Event()

    async def one(number, chat):
      try:
        name = names[number] if names else f"chat {number}"
        reply = await self._one(chat, sampling, name)
        if progress:
          progress(number, reply)
        return reply
      except BaseException:
        trouble.set()
        raise
      finally:
        self._slots.release()

    try:
      for number, chat in enumerate(chats):
        await self._slots.acquire()
        if trouble.is_set():
          self._slots.release()
          break
        tasks.append(asyncio.create_task(one(number, chat)))
    finally:  # an answer in flight is paid for: it is waited for and kept
      results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
      if isinstance(result, replies.BudgetSpent):
        raise self._budget_spent(str(result))
      if isinstance(result, BaseException):
        raise result
    return results

  def _budget_spent(self, knob):
    return replies.BudgetSpent(
      f"the budget is spent: {self.spent.calls:,} calls, {self.spent.tokens:,} tokens, "
      f"{self.dollars:.2f} dollars; {self._where}.budget.{knob} is {getattr(self.budget, knob)}. "
      "What was answered is kept: raise it, and the same command goes on"
    )

  async def _one(self, chat, sampling, name):
    """The Reply to one chat: out of the cache, or of a call that is under way, or of a new one."""
    messages = await asyncio.to_thread(picturing.wire, chat, self._pictures, name=name)
    key = caches.key(self.model, messages, dataclasses.asdict(sampling))
    if kept := self._cache.get(key):
      return kept
    if key in self._asking:
      return dataclasses.replace(await asyncio.shield(self._asking[key]), cached=True)
    self._asking[key] = asyncio.create_task(self._call(key, messages, sampling))
    try:
      return await self._asking[key]
    finally:
      del self._asking[key]

  async def _call(self, key, messages, sampling):
    if full := self.budget.full(self.spent, self._in_flight):
      raise replies.BudgetSpent(full)  # with its whole message when all have ended
    self._in_flight += 1
    try:
      reply = await self._answer(messages, sampling)
      if reply.final:
        self.spent = self.spent.plus(reply.prompt_tokens, reply.completion_tokens)
        self._cache.put(key, self.model, reply)
    finally:
      self._in_flight -= 1
    return reply

  async def _answer(self, messages, sampling):
    endpoint = self.endpoint
    self._api = self._api or self._open()
    body = {endpoint.limit_field: sampling.max_tokens}
    if sampling.seed is not None:
      body["seed"] = sampling.seed + sampling.attempt
    try:
      async with asyncio.timeout(endpoint.timeout):
        # Raw: what a server sends that is no completion must not pass for an empty one.
        raw = await self._api.chat.completions.with_raw_response.create(
          model=self.model,
          messages=messages,
          temperature=sampling.temperature,
          extra_body=body,
        )
    except TimeoutError:
      return replies.Reply(None, f"timeout: no answer in {endpoint.timeout:g} seconds")
    except openai.OpenAIError as error:
      return replies.failed(error, model=self.model, base_url=endpoint.base_url, where=self._where)
    return replies.read(raw.http_response.text)

  def _open(self):
    endpoint = self.endpoint
    here = urllib.parse.urlsplit(endpoint.base_url).hostname in _HERE
    key = os.environ.get(endpoint.key, "none" if here else "")
    if not key:
      raise replies.Stopped(
        f"no key for {endpoint.base_url}: set the environment variable {endpoint.key}, or name "
        f"another one in {self._where}.endpoint.key; a server that asks for no key takes any"
      )
    return openai.AsyncOpenAI(
      base_url=endpoint.base_url,
      api_key=key,
      max_retries=endpoint.retries,
      timeout=endpoint.request_timeout,
      # A proxy, which httpx finds in the environment, does not lead to this machine.
      http_client=openai.DefaultAsyncHttpxClient(trust_env=False) if here else None,
    )

  def close(self):
    """Ends what is in flight, unanswered. After a result() of all that was started, nothing is."""
    if self._loop.is_closed():
      return
    asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
    self._loop.call_soon_threadsafe(self._loop.stop)
    self._thread.join()
    self._loop.close()
    self._cache.close()

  async def _end(self):
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
      task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    if self._api:
      await self._api.close()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()
