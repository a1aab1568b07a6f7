"""A teacher for the built-in world: a service on this machine that speaks the OpenAI protocol.

It reads what is asked from the prompt and what the pictures show from their comments, which no
model sees; it writes reasonings as the references have them, and errs more the harder the example.
"""

import base64
import contextlib
import dataclasses
import functools
import hashlib
import http.server
import io
import itertools
import json
import re
import sys
import threading
import time

import numpy as np
from absl import logging
from PIL import Image

from cot_rm import schema
from cot_rm.prompts import brief, think
from cot_rm.toy_world import language, misreadings


@dataclasses.dataclass(frozen=True)
class Teacher:
  """How good the teacher is. An error is a whole judgement that comes to the wrong verdict."""

  error: float = 0.1  # rate of errors where one thing is to be seen and told by its look
  per_object: float = 0.1  # more for each further thing in the fullest picture
  relation: float = 0.15  # more where it is told by number, place, order, motion or who has what
  unparsable: float = 0.03  # rate of texts without a verdict
  contradicting: float = 0.0  # rate of errors whose verdict is right and contradicts the reasoning
  seed: int = 0

  def __post_init__(self):
    for knob in ("error", "per_object", "relation", "unparsable", "contradicting"):
      if not 0 <= getattr(self, knob) <= 1:
        raise ValueError(f"teacher.{knob} is {getattr(self, knob)}; it is a rate, from 0 to 1")

  @property
  def name(self) -> str:
    """The model's name, with a hash of all settings: each teacher has cached answers of its own.

    The hashed text has the name that the field `contradicting` had when caches were first written.
    """
    settings = repr(self).replace("contradicting=", "careless=")
    return "shapes-teacher-" + hashlib.sha256(settings.encode()).hexdigest()[:8]


@dataclasses.dataclass(frozen=True)
class Asked:
  """A request, read."""

  task: str
  question: str  # or caption
  responses: tuple[str, ...]  # empty for generation tasks
  shown: tuple[tuple[language.Thing, ...], ...]  # what each picture or video shows


@contextlib.contextmanager
def serve(teacher):
  """The service, for the length of a `with`; yields its base_url, which ends in /v1."""
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


def completion(request, teacher):
  """The body of a chat completion for the body of a request.

  The same request has the same answer, its "seed" included. Raises ValueError on one that is not
  about the built-in world.
  """
  asked = read(request["messages"])
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
    "usage": {  # words, for want of a tokenizer
      "prompt_tokens": words["prompt"],
      "completion_tokens": words["completion"],
      "total_tokens": words["prompt"] + words["completion"],
    },
  }


def read(messages):
  """What a chat, as it was sent, asks: Asked. Raises ValueError where it is not of this world."""
  parts = messages[-1]["content"]
  if isinstance(parts, str):
    parts = [{"type": "text", "text": parts}]
  texts = [part["text"] for part in parts if part["type"] == "text"]
  pictures = [_comment(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
  if not texts or not pictures:
    raise ValueError("a question about pictures is a text and the pictures")
  found = next(filter(None, (pattern.fullmatch(texts[-1]) for pattern in _patterns())), None)
  if not found:
    raise ValueError(f"no prompt of the grammars 'brief' and 'think': {texts[-1][:200]!r}")
  question, *responses = found.groups()
  kind = "video" if pictures[0]["frames"] > 1 else "image"
  shown = tuple(
    tuple(language.Thing(*thing) for thing in picture["things"])
    for picture in pictures
    if picture["frame"] == 0
  )
  if len(shown) != (1 if responses else 2):
    raise ValueError(f"{len(shown)} pictures or videos to the question {question!r}")
  task = f"{kind}_{'understanding' if responses else 'generation'}"
  return Asked(task, question, tuple(responses), shown)


@functools.cache
def _patterns():
  """What finds question and answers in the prompts of `brief` and `think`, for all tasks."""
  marks = ("QUESTION", "ANSWER-ONE", "ANSWER-TWO")
  patterns = []
  for grammar, task in itertools.product((brief, think), schema.TASKS):
    generation = task.endswith("generation")
    media = (schema.Media(task.split("_")[0], None),) * (1 + generation)
    example = schema.Example("", "", task, marks[0], media, () if generation else marks[1:])
    (message,) = grammar.render(example)
    pattern = re.escape(message["content"][-1]["text"])
    for mark in marks:
      pattern = pattern.replace(re.escape(mark), r"([^\n]+?)")
    patterns.append(re.compile(pattern))
  return patterns


def _comment(url):
  """What a picture of the world says of itself."""
  try:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2], validate=True))) as image:
      said = json.loads(image.info.get("comment") or image.info["Comment"])
    return {"frame": said["frame"], "frames": said["frames"], "things": said["things"]}
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f"a picture that does not say what it shows ({type(error).__name__}): this teacher knows "
      "the built-in world alone; name a service in config.distill.endpoint.base_url"
    ) from error


def rate(asked, teacher):
  """How often the teacher errs on an example."""
  if asked.responses:
    looks = ("What colour is the ", "What shape is the ")
    relation = not asked.question.startswith(looks) or asked.question.endswith("that moves?")
  else:  # the same colours and the same shapes: they differ in who has which, where or when
    one, other = asked.shown
    relation = all(
      sorted(thing[field] for thing in one) == sorted(thing[field] for thing in other)
      for field in (0, 1)
    )
  objects = max(len(things) for things in asked.shown)
  error = teacher.error + teacher.per_object * (objects - 1) + teacher.relation * relation
  return min(error, 1.0)


def judgement(asked, teacher, rng):
  """A judgement in the grammar `think`, right or wrong, as `rng` has it."""
  pick = lambda options: options[rng.integers(len(options))]
  wrong, unparsable = rng.random() < rate(asked, teacher), rng.random() < teacher.unparsable
  verb, conclusion = pick(language.VERBS), pick(language.CONCLUSIONS)
  if asked.responses:
    (things,) = asked.shown
    if wrong:
      things = pick(misreadings.answers(asked.question, things, asked.responses))
    text = language.understanding(
      asked.task,
      things,
      misreadings.fitting(asked.question, things),
      misreadings.answer(asked.question, things),
      asked.responses,
      verb=verb,
      conclusion=conclusion,
    )
  else:
    caption = misreadings.wanted(asked.question)
    shown = pick(misreadings.candidates(caption, asked.shown)) if wrong else asked.shown
    text = language.generation(asked.task, caption, shown, verb=verb)
  if wrong and rng.random() < teacher.contradicting:
    text = _turned(text)
  if not unparsable:
    return text
  thoughts, _, _ = text.partition("</think>")
  ways = ("", "</think>", "</think>\n<answer>Both are equally good</answer>")
  return thoughts + pick(ways)


def _turned(text):
  """The judgement with its verdict for the other candidate."""
  head, choice = re.fullmatch(r"(.*<answer>\w+ )([12]) is better</answer>", text, re.S).groups()
  return f"{head}{3 - int(choice)} is better</answer>"


class _Server(http.server.ThreadingHTTPServer):
  """Keeps the teacher for its handlers."""

  daemon_threads = True
  request_queue_size = 256  # calls that may wait at the door
  teacher = None

  def handle_error(self, request, client_address):
    """A client that went away before its answer is worth a line, not a traceback."""
    if not isinstance(sys.exception(), ConnectionError):
      super().handle_error(request, client_address)
    logging.warning("the built-in teacher lost %s: %r", client_address, sys.exception())


class _Handler(http.server.BaseHTTPRequestHandler):
  """GET /v1/models and POST /v1/chat/completions."""

  protocol_version = "HTTP/1.1"  # connections stay open
  wbufsize = -1  # headers and body leave together
  disable_nagle_algorithm = True

  def do_GET(self):
    if self.path != "/v1/models":
      return self._fail(404, f"no such path: {self.path}")
    card = {"id": self.server.teacher.name, "object": "model", "created": 0, "owned_by": "cot_rm"}
    return self._send(200, {"object": "list", "data": [card]})

  def do_POST(self):
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

  def _fail(self, status, message):
    kind = "invalid_request_error"
    self._send(status, {"error": {"message": message, "type": kind, "param": None, "code": None}})

  def _send(self, status, body):
    data = json.dumps(body).encode()
    self.send_response(status)
    self.send_header("Content-Type", "application/json")
    self.send_header("Content-Length", str(len(data)))
    self.end_headers()
    self.wfile.write(data)

  def log_message(self, template, *values):
    logging.debug(template, *values)
