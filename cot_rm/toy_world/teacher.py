"""A teacher for the built-in world: a local service that speaks the OpenAI protocol.

It parses the question from the prompt and the things in a picture from its comment, which no model
sees. It writes judgements in the form of the references, with an error rate that rises with the
difficulty of the example.
"""

import contextlib
import dataclasses
import functools
import hashlib
import http.server
import itertools
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from absl import logging

from cot_rm import media, schema
from cot_rm.prompts import brief, think
from cot_rm.toy_world import language, misreadings
from cot_rm.toy_world.language import Thing

Json = Mapping[str, object]
Option = TypeVar("Option")


@dataclasses.dataclass(frozen=True)
class Teacher:
  """Error rates of the teacher.

  An error is a misreading of the pictures, with the wrong verdict that follows from the misreading.

  Raises ValueError on a rate outside 0 to 1.
  """

  error: float = 0.1  # for a picture of one thing and a question about its look
  per_object: float = 0.1  # added for each further thing in the fullest picture
  relation: float = 0.15  # added for number, place, order, motion, or which thing has which look
  unparsable: float = 0.03  # rate of texts without a verdict
  contradicting: float = 0.0  # fraction of errors with the right verdict, against the reasoning
  seed: int = 0

  def __post_init__(self) -> None:
    for field in ("error", "per_object", "relation", "unparsable", "contradicting"):
      if not 0 <= getattr(self, field) <= 1:
        raise ValueError(f"Teacher: {field} is {getattr(self, field)}; it is a rate, from 0 to 1")

  @property
  def name(self) -> str:
    """The model's name, with a hash of all settings: each teacher has cached answers of its own.

    The hashed text has the name that the field `contradicting` had when caches were first written.
    """
    settings = repr(self).replace("contradicting=", "careless=")
    return "shapes-teacher-" + hashlib.sha256(settings.encode()).hexdigest()[:8]


@dataclasses.dataclass(frozen=True)
class ParsedRequest:
  """The question and the pictures of a request."""

  task: str
  question: str  # or caption
  responses: tuple[str, ...]  # empty for generation tasks
  shown: tuple[tuple[Thing, ...], ...]  # things in each picture or video


@contextlib.contextmanager
def serve(teacher: Teacher) -> Iterator[str]:
  """Runs the service inside a `with`; yields its base_url, which ends in /v1."""
  server = _Server(("127.0.0.1", 0), _Handler)
  server.teacher = teacher
  thread = threading.Thread(target=server.serve_forever, name="teacher", daemon=True)
  thread.start()
  try:
    yield f"http://127.0.0.1:{server.server_port}/v1"
  finally:
    server.shutdown()
    server.server_close()
    thread.join()


def completion(request: Json, teacher: Teacher) -> Json:
  """The body of a chat completion for the body of a request.

  Equal requests (with equal "seed") have equal answers. Raises ValueError for a request that is
  not about the built-in world.
  """
  asked = parse_request(request["messages"])
  content = json.dumps([dataclasses.astuple(asked), request.get("seed")])
  digest = hashlib.sha256(f"{teacher.seed} {content}".encode()).digest()
  text = judgement(asked, teacher, np.random.default_rng(int.from_bytes(digest[:8])))
  words = {"prompt": len(content.split()), "completion": len(text.split())}
  return {
    "id": f"chatcmpl-{digest.hex()[:24]}",
    "object": "chat.completion",
    "created": int(time.time()),
    "model": teacher.name,
    "choices": [
      {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
      }
    ],
    "usage": {  # words: the service has no tokenizer
      "prompt_tokens": words["prompt"],
      "completion_tokens": words["completion"],
      "total_tokens": words["prompt"] + words["completion"],
    },
  }


def parse_request(messages: Sequence[Json]) -> ParsedRequest:
  """Parses a chat of the protocol; raises ValueError if it is not about the built-in world."""
  parts = messages[-1]["content"]
  if isinstance(parts, str):
    parts = [{"type": "text", "text": parts}]
  texts = [part["text"] for part in parts if part["type"] == "text"]
  pictures = [_comment(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
  if not texts or not pictures:
    raise ValueError("the request must have one message with a text and the pictures")
  found = next(filter(None, (pattern.fullmatch(texts[-1]) for pattern in _patterns())), None)
  if not found:
    raise ValueError(f"no prompt of the grammars 'brief' and 'think': {texts[-1][:200]!r}")
  question, *responses = found.groups()
  kind = "video" if pictures[0]["frames"] > 1 else "image"
  shown = tuple(
    tuple(Thing(*thing) for thing in picture["things"])
    for picture in pictures
    if picture["frame"] == 0
  )
  if len(shown) != (1 if responses else 2):
    raise ValueError(f"{len(shown)} pictures or videos to the question {question!r}")
  task = f"{kind}_{'understanding' if responses else 'generation'}"
  return ParsedRequest(task, question, tuple(responses), shown)


@functools.cache
def _patterns() -> list[re.Pattern]:
  """Patterns of question and answers in the prompts of `brief` and `think`, for all tasks."""
  marks = ("QUESTION", "ANSWER-ONE", "ANSWER-TWO")
  patterns = []
  for grammar, task in itertools.product((brief, think), schema.TASKS):
    generation = task.endswith("generation")
    unopened = (schema.Media(task.split("_")[0], ""),) * (1 + generation)
    example = schema.Example("", "", task, marks[0], unopened, () if generation else marks[1:])
    (message,) = grammar.render(example)
    pattern = re.escape(message["content"][-1]["text"])
    for mark in marks:
      pattern = pattern.replace(re.escape(mark), r"([^\n]+?)")
    patterns.append(re.compile(pattern))
  return patterns


def _comment(url: str) -> dict[str, object]:
  """The comment of a picture of the built-in world: frame, number of frames, things."""
  try:
    info = media.picture(url, name="the request").info
    comment = json.loads(info.get("comment") or info["Comment"])
    return {key: comment[key] for key in ("frame", "frames", "things")}
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f"a picture without a scene in its comment ({type(error).__name__}): this teacher knows "
      "the built-in world alone; name a service in config.distill.endpoint.base_url"
    ) from error


def error_rate(asked: ParsedRequest, teacher: Teacher) -> float:
  """Probability of an error on a request."""
  if asked.responses:
    looks = ("What colour is the ", "What shape is the ")
    relation = not asked.question.startswith(looks) or asked.question.endswith("that moves?")
  else:  # equal colours and equal shapes: the candidates differ in their pairing, place or time
    one, other = asked.shown
    relation = all(
      sorted(thing[field] for thing in one) == sorted(thing[field] for thing in other)
      for field in (0, 1)
    )
  objects = max(len(things) for things in asked.shown)
  error = teacher.error + teacher.per_object * (objects - 1) + teacher.relation * relation
  return min(error, 1.0)


def judgement(asked: ParsedRequest, teacher: Teacher, rng: np.random.Generator) -> str:
  """A judgement in the grammar `think`, right or wrong by `rng` and the teacher's rates."""

  def pick(options: Sequence[Option]) -> Option:
    return options[rng.integers(len(options))]

  wrong = rng.random() < error_rate(asked, teacher)
  unparsable = rng.random() < teacher.unparsable
  verb, conclusion = pick(language.VERBS), pick(language.CONCLUSIONS)
  if asked.responses:
    (things,) = asked.shown
    if wrong:
      things = pick(misreadings.of_answers(asked.question, things, asked.responses))
    text = language.write_understanding(
      asked.task,
      things,
      misreadings.relevant_things(asked.question, things),
      misreadings.answer(asked.question, things),
      asked.responses,
      verb=verb,
      conclusion=conclusion,
    )
  else:
    things = misreadings.parse_caption(asked.question)
    shown = pick(misreadings.of_candidates(things, asked.shown)) if wrong else asked.shown
    text = language.write_generation(asked.task, things, shown, verb=verb)
  if wrong and rng.random() < teacher.contradicting:
    text = _with_other_verdict(text)
  if not unparsable:
    return text
  thoughts, _, _ = text.partition("</think>")
  endings = ("", "</think>", "</think>\n<answer>Both are equally good</answer>")
  return thoughts + pick(endings)


def _with_other_verdict(text: str) -> str:
  """The judgement with its verdict for the other candidate."""
  head, choice = re.fullmatch(r"(.*<answer>\w+ )([12]) is better</answer>", text, re.S).groups()
  return f"{head}{3 - int(choice)} is better</answer>"


class _Server(http.server.ThreadingHTTPServer):
  """The HTTP server, with the teacher for its handlers."""

  daemon_threads = True
  request_queue_size = 256  # calls that may wait for a thread
  teacher: Teacher

  def handle_error(self, request: socket.socket, client_address: tuple[str, int]) -> None:
    """Logs one line, without a traceback, for a client that closed its connection."""
    if not isinstance(sys.exception(), ConnectionError):
      super().handle_error(request, client_address)
    logging.warning("the built-in teacher lost %s: %r", client_address, sys.exception())


class _Handler(http.server.BaseHTTPRequestHandler):
  """GET /v1/models and POST /v1/chat/completions."""

  protocol_version = "HTTP/1.1"  # connections stay open
  wbufsize = -1  # headers and body are sent together
  disable_nagle_algorithm = True

  def do_GET(self) -> None:
    if self.path != "/v1/models":
      return self._fail(404, f"no such path: {self.path}")
    card = {"id": self.server.teacher.name, "object": "model", "created": 0, "owned_by": "cot_rm"}
    return self._send(200, {"object": "list", "data": [card]})

  def do_POST(self) -> None:
    body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
    if self.path != "/v1/chat/completions":
      return self._fail(404, f"no such path: {self.path}")
    try:
      request = json.loads(body)
      if request["model"] != self.server.teacher.name:
        return self._fail(404, f"no such model: {request['model']!r}")
      return self._send(200, completion(request, self.server.teacher))
    except (ValueError, KeyError, TypeError) as error:
      return self._fail(400, f"{type(error).__name__}: {error}")

  def _fail(self, status: int, message: str) -> None:
    kind = "invalid_request_error"
    self._send(status, {"error": {"message": message, "type": kind, "param": None, "code": None}})

  def _send(self, status: int, body: Json) -> None:
    data = json.dumps(body).encode()
    self.send_response(status)
    self.send_header("Content-Type", "application/json")
    self.send_header("Content-Length", str(len(data)))
    self.end_headers()
    self.wfile.write(data)

  def log_message(self, template: str, *values: object) -> None:
    logging.debug(template, *values)
