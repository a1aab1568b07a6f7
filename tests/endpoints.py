"""A service that speaks the OpenAI protocol as badly as a test wants it to."""

import contextlib
import http.server
import json
import threading
import time


def completion(text, *, finish="stop", refusal=None, prompt_tokens=10, completion_tokens=5):
  """The body of a chat completion."""
  message = {"role": "assistant", "content": text, "refusal": refusal}
  return {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    "usage": {
      "prompt_tokens": prompt_tokens,
      "completion_tokens": completion_tokens,
      "total_tokens": prompt_tokens + completion_tokens,
    },
  }


def failure(status, message="no", code=None):
  """A status and the body of an error; the package is told to try again at once, if it does."""
  return status, {"error": {"message": message, "type": "t", "param": None, "code": code}}


class Service:
  """What the test sees of its server: where it is, and what was asked of it."""

  def __init__(self, answer):
    self.answer = answer  # (number of the request, from 0; its body) -> what to send
    self.asked = []  # bodies of the requests, in the order in which they came
    self.keys = []  # and what each said in "Authorization"
    self.release = threading.Event()  # ends what stalls
    self.base_url = None
    self._lock = threading.Lock()

  def take(self, body, key):
    with self._lock:
      self.asked.append(body)
      self.keys.append(key)
      return len(self.asked) - 1


@contextlib.contextmanager
def serve(answer):
  """A Service on 127.0.0.1. What its `answer` returns is sent:

  a dict with status 200; (status, dict); bytes as they are, as JSON; "cut": the connection ends
  without a word; "stall": nothing comes before service.release is set.
  """
  service = Service(answer)

  class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
      """Says nothing."""

    def do_POST(self):
      body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
      number = service.take(body, self.headers["Authorization"])
      what = service.answer(number, body)
      if what == "stall":
        service.release.wait(30)
        what = completion("late")
      if what == "cut":
        self.close_connection = True
        return
      status, what = what if isinstance(what, tuple) else (200, what)
      sent = what if isinstance(what, bytes) else json.dumps(what).encode()
      self.send_response(status)
      self.send_header("Content-Type", "application/json")
      self.send_header("Content-Length", str(len(sent)))
      self.send_header("Retry-After-Ms", "1")
      self.end_headers()
      self.wfile.write(sent)

  class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
      """A client that left before its answer is what some tests are about."""

  server = Server(("127.0.0.1", 0), Handler)
  service.base_url = f"http://127.0.0.1:{server.server_port}/v1"
  threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
  try:
    yield service
  finally:
    service.release.set()
    server.shutdown()
    server.server_close()


def wait(condition, seconds=60):
  """Waits until condition() holds."""
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end, "it never came about"
    time.sleep(0.01)
