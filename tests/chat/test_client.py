"""The client against a service that fails in every way that services do."""

import dataclasses
import socket
import threading

import pytest

from cot_rm import chat
from cot_rm.schema import BadExample
from tests import endpoints

ONCE = chat.Sampling(temperature=0.0, max_tokens=9, seed=None)


def user(text):
  return [{"role": "user", "content": text}]


def asked(body):
  return body["messages"][-1]["content"]


def echo(_, body):
  """The service's answer to "x" is "<x>"."""
  return endpoints.completion(f"<{asked(body)}>")


@pytest.fixture
def client(tmp_path):
  """`client(service or base_url, **knobs)`: a Client whose answers are in tmp_path."""
  opened = []

  def make(service, *, budget=None, where="config.distill", **knobs):
    base_url = getattr(service, "base_url", service)
    settings = {"retries": 1, "concurrency": 4, "timeout": 30.0} | knobs
    opened.append(
      chat.Client(
        "m",
        cache=tmp_path / "calls.sqlite",
        endpoint=chat.Endpoint(base_url, **settings),
        budget=budget,
        where=where,
      )
    )
    return opened[-1]

  yield make
  for one in opened:
    one.close()


def test_answers_come_in_the_order_of_the_chats_and_are_counted(client):
  with endpoints.serve(echo) as service:
    one = client(service)
    seen = {}
    replies = one.ask(
      (user(f"q{i}") for i in range(9)), ONCE, progress=lambda i, reply: seen.update({i: reply})
    )
  assert [reply.text for reply in replies] == [f"<q{i}>" for i in range(9)]
  assert seen == dict(enumerate(replies))
  assert one.usage == chat.Usage(9, 90, 45)


def test_all_that_is_sampled_is_sent(client):
  with endpoints.serve(echo) as service:
    one = client(service)
    one.ask([user("q")], chat.Sampling(temperature=0.0, max_tokens=7, seed=None))
    one.ask([user("q")], chat.Sampling(attempt=2, temperature=0.7, max_tokens=7, seed=40))
  first, second = service.asked
  assert first["model"] == "m" and first["temperature"] == 0.0 and first["max_tokens"] == 7
  assert "seed" not in first
  assert second["temperature"] == 0.7 and second["seed"] == 42
  assert first["messages"] == second["messages"] == user("q")


def test_a_service_may_call_the_limit_by_another_name(client):
  with endpoints.serve(echo) as service:
    client(service, limit_field="max_completion_tokens").ask([user("q")], ONCE)
  (body,) = service.asked
  assert body["max_completion_tokens"] == 9 and "max_tokens" not in body


def test_no_more_calls_than_the_limit_are_made_at_a_time(client):
  lock, running, most = threading.Lock(), 0, 0
  barrier = threading.Barrier(3)

  def answer(_, body):
    nonlocal running, most
    with lock:
      running += 1
      most = max(most, running)
    barrier.wait(20)  # breaks unless three calls are in flight
    with lock:
      running -= 1
    return echo(_, body)

  with endpoints.serve(answer) as service:
    client(service, concurrency=3).ask([user(f"q{i}") for i in range(9)], ONCE)
  assert most == 3


def test_chats_are_read_only_as_calls_become_free(client):
  read = []

  def chats():
    for i in range(9):
      read.append(i)
      yield user(f"q{i}")

  with endpoints.serve(lambda *_: "stall") as service:
    one = client(service, concurrency=2)
    future = one.start(chats(), ONCE)
    endpoints.wait(lambda: len(service.asked) == 2)
    assert len(read) == 3 and not future.done()  # two are asked, one is ready
    service.release.set()
    assert len(future.result()) == 9


def test_calls_run_beside_other_work(client):
  with endpoints.serve(lambda *_: "stall") as service:
    future = client(service).start([user("q")], ONCE)
    endpoints.wait(lambda: service.asked)
    assert not future.done()
    service.release.set()
    assert future.result()[0].text == "late"


@pytest.mark.parametrize("first", [endpoints.failure(429), endpoints.failure(500), "cut"])
def test_a_passing_error_is_retried(client, first):
  with endpoints.serve(lambda n, body: first if n == 0 else echo(n, body)) as service:
    (reply,) = client(service).ask([user("q")], ONCE)
  assert reply.text == "<q>" and len(service.asked) == 2


@pytest.mark.parametrize(
  "answer, kind",
  [
    (endpoints.failure(429), "busy"),
    (endpoints.failure(503), "server"),
    (endpoints.failure(400, "too long"), "rejected"),
    ("cut", "connection"),
    ("stall", "timeout"),
    (b'{"choices": ', "malformed"),
    (b'{"object": "list"}', "malformed"),
  ],
)
def test_a_call_that_fails_is_an_error_of_its_own_reply_and_is_asked_again(client, answer, kind):
  bad = lambda _, body: answer if asked(body) == "bad" else echo(_, body)
  with endpoints.serve(bad) as service:
    one = client(service, timeout=0.4 if kind == "timeout" else 30.0)
    replies = one.ask([user("a"), user("bad"), user("b")], ONCE)
    assert [reply.text for reply in replies] == ["<a>", None, "<b>"]
    assert replies[1].kind == kind and replies[1].error
    service.release.set()
    service.answer = echo
    again = one.ask([user("a"), user("bad"), user("b")], ONCE)
  assert [reply.text for reply in again] == ["<a>", "<bad>", "<b>"]
  assert [reply.cached for reply in again] == [True, False, True]


@pytest.mark.parametrize(
  "answer, kind",
  [
    (endpoints.completion(None, refusal="I cannot"), "refused"),
    (endpoints.failure(400, "filtered", "content_filter"), "refused"),
    ({"choices": []}, "empty"),
    (endpoints.completion("half", finish="length"), "cut"),
  ],
)
def test_an_answer_without_a_usable_text_is_cached(client, answer, kind):
  with endpoints.serve(lambda *_: answer) as service:
    one = client(service)
    (reply,) = one.ask([user("q")], ONCE)
    assert reply.text is None and reply.kind == kind and not reply.cached
    (again,) = one.ask([user("q")], ONCE)
    assert again == dataclasses.replace(reply, cached=True)
  assert len(service.asked) == 1


def test_a_finished_run_replays_without_a_service_and_without_a_key(client, monkeypatch):
  chats = [user("a"), user("b")]
  with endpoints.serve(echo) as service:
    first = client(service).ask(chats, ONCE)
  monkeypatch.delenv("OPENAI_API_KEY", raising=False)
  replay = client("https://127.0.0.1.invalid/v1")
  again = replay.ask(chats, ONCE)
  assert [reply.text for reply in again] == [reply.text for reply in first]
  assert all(reply.cached for reply in again) and replay.usage.calls == 2


def test_another_attempt_is_another_call_and_the_same_chat_twice_is_one(client):
  with endpoints.serve(lambda n, _: endpoints.completion(f"{n}")) as service:
    one = client(service)
    twice = one.ask([user("q"), user("q")], ONCE)
    (other,) = one.ask([user("q")], dataclasses.replace(ONCE, attempt=2))
  assert [reply.text for reply in twice] == ["0", "0"] and other.text == "1"
  assert [reply.cached for reply in twice] == [False, True]
  assert len(service.asked) == 2


def test_a_wrong_key_stops_all_calls(client, monkeypatch):
  monkeypatch.setenv("THE_KEY", "wrong")
  with endpoints.serve(lambda *_: endpoints.failure(401, "Incorrect API key")) as service:
    one = client(service, concurrency=2, key="THE_KEY")
    with pytest.raises(
      chat.Stopped, match="(?s)does not accept the key: .*config.distill.endpoint.key"
    ):
      one.ask((user(f"q{i}") for i in range(50)), ONCE)
  assert len(service.asked) <= 3 and set(service.keys) == {"Bearer wrong"}


def test_a_missing_key_is_reported_before_any_call(client, monkeypatch):
  monkeypatch.delenv("OPENAI_API_KEY", raising=False)
  one = client("https://api.invalid/v1")
  with pytest.raises(
    chat.Stopped, match="no key for https://api.invalid/v1: set .* OPENAI_API_KEY"
  ):
    one.ask([user("q")], ONCE)


def test_a_service_on_this_machine_needs_no_key(client, monkeypatch):
  monkeypatch.delenv("OPENAI_API_KEY", raising=False)
  with endpoints.serve(echo) as service:
    assert client(service).ask([user("q")], ONCE)[0].text == "<q>"


def test_no_proxy_is_used_for_a_service_on_this_machine(client, monkeypatch):
  monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
  with endpoints.serve(echo) as service:
    assert client(service).ask([user("q")], ONCE)[0].text == "<q>"


def test_an_unknown_model_stops_with_its_name(client):
  with endpoints.serve(lambda *_: endpoints.failure(404)) as service:
    with pytest.raises(chat.Stopped, match="(?s)no model 'm'.*config.distill.model"):
      client(service).ask([user("q")], ONCE)


def test_an_empty_account_stops(client):
  full = endpoints.failure(429, "You exceeded your quota", "insufficient_quota")
  with endpoints.serve(lambda *_: full) as service:
    with pytest.raises(chat.Stopped, match="the account is empty"):
      client(service).ask([user("q")], ONCE)


def test_an_address_without_a_server_stops_and_is_named(client):
  with socket.socket() as taken:  # bound and not listening: nobody else gets the port
    taken.bind(("127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    one = client(base_url, retries=0)
    with pytest.raises(
      chat.Stopped, match=f"(?s)no server answers at {base_url}.*endpoint.base_url"
    ):
      one.ask([user("q")], ONCE)


def test_a_limit_of_calls_is_observed_and_all_answers_are_cached(client):
  chats = [user(f"q{i}") for i in range(9)]
  with endpoints.serve(echo) as service:
    one = client(service, budget=chat.Budget(calls=5))
    with pytest.raises(
      chat.BudgetExhausted, match="5 calls, 75 tokens.*config.distill.budget.calls is 5"
    ):
      one.ask(chats, ONCE)
    assert len(service.asked) == 5 and one.usage.calls == 5
    # The calls of the earlier run count: a second start does not buy another five.
    one.close()
    with pytest.raises(chat.BudgetExhausted):
      client(service, budget=chat.Budget(calls=5)).ask(chats, ONCE)
    assert len(service.asked) == 5
    replies = client(service, budget=chat.Budget(calls=9)).ask(chats, ONCE)
  assert len(service.asked) == 9
  assert len({asked(body) for body in service.asked}) == 9  # none twice
  assert sum(reply.cached for reply in replies) == 5


def test_without_a_config_the_message_names_the_argument(client):
  with endpoints.serve(echo) as service:
    one = client(service, budget=chat.Budget(calls=1), where=None)
    with pytest.raises(chat.BudgetExhausted, match="dollars; budget.calls is 1"):
      one.ask([user("a"), user("b")], ONCE)


def test_a_limit_in_dollars_stops_before_it_is_exceeded(client):
  # 10 and 5 tokens at a dollar a million each: 15 millionths a call.
  budget = chat.Budget(dollars=65e-6, prompt_price=1.0, completion_price=1.0)
  with endpoints.serve(echo) as service:
    one = client(service, budget=budget, concurrency=1)
    with pytest.raises(chat.BudgetExhausted, match="budget.dollars"):
      one.ask([user(f"q{i}") for i in range(9)], ONCE)
  assert len(service.asked) == 4 and one.dollars == pytest.approx(60e-6)


def test_answers_in_flight_are_cached_when_a_call_stops_all(client):
  def answer(_, body):
    if asked(body) == "bad":
      endpoints.wait(lambda: len(service.asked) == 2)
      return endpoints.failure(401)
    endpoints.wait(lambda: failed.is_set())
    return echo(_, body)

  failed = threading.Event()
  with endpoints.serve(answer) as service:
    one = client(service, concurrency=2)
    future = one.start([user("slow"), user("bad"), user("more")], ONCE)
    endpoints.wait(lambda: one._free._value == 1)  # the bad one has ended, the slow one has not
    failed.set()
    with pytest.raises(chat.Stopped):
      future.result()
    assert one.ask([user("slow")], ONCE)[0].cached
  assert [asked(body) for body in service.asked].count("more") == 0


def test_a_full_disk_stops_all_calls_and_loses_no_answer(client):
  with endpoints.serve(echo) as service:
    one = client(service, concurrency=1)
    one.ask([user("a")], ONCE)
    one._cache._connection.execute("pragma max_page_count = 1")  # sqlite's own full disk
    with pytest.raises(chat.Stopped, match="calls.sqlite: database or disk is full"):
      one.ask([user("b" * 9000), user("c")], ONCE)
    one.close()
    again = client(service).ask([user("a"), user("b" * 9000), user("c")], ONCE)
  assert [reply.cached for reply in again] == [True, False, False]


def test_a_bad_picture_is_the_error_of_its_chat_alone(client, tmp_path):
  part = {"type": "image", "image": str(tmp_path / "no.png")}
  with endpoints.serve(echo) as service:
    one = client(service)
    chats = [user("a"), [{"role": "user", "content": [part]}], BadExample("no chat")]
    first, bad, none = one.ask(chats, ONCE, names=["example 'e1'", "example 'e2'", "example 'e3'"])
    assert first.final and (bad.kind, none.kind) == ("bad", "bad")
    assert "bad: example 'e2': picture " in bad.error and none.error == "bad: no chat"
    assert not bad.final and one.usage.calls == 1


def test_an_error_while_chats_are_read_is_raised(client):
  def chats():
    yield user("a")
    raise ValueError("example 'e2' has no answers")

  with endpoints.serve(echo) as service:
    with pytest.raises(ValueError, match="example 'e2' has no answers"):
      client(service).ask(chats(), ONCE)


def test_closing_leaves_nothing_behind(client):
  before = threading.active_count()
  with endpoints.serve(lambda *_: "stall") as service:
    one = client(service)
    future = one.start([user("q")], ONCE)
    endpoints.wait(lambda: service.asked)
    one.close()
    one.close()
    assert future.cancelled() or future.exception()
  endpoints.wait(lambda: threading.active_count() <= before)


@pytest.mark.parametrize(
  "knobs, message",
  [
    ({"base_url": "api.openai.com/v1"}, "endpoint.base_url is 'api.openai.com/v1'"),
    ({"concurrency": 0}, "endpoint.concurrency is 0; it must be 1 or more"),
    ({"timeout": 0.0}, "endpoint.timeout is 0.0"),
  ],
)
def test_settings_out_of_range_are_named(knobs, message):
  with pytest.raises(ValueError, match=message):
    chat.Endpoint(**{"base_url": "http://127.0.0.1"} | knobs)
