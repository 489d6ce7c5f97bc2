"""An OpenAI-compatible endpoint on loopback that says what a test dictates."""

from __future__ import annotations

import itertools
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def endpoint(*replies):
    """The base URL of an endpoint whose completions are `replies`, in turn and again."""
    said = itertools.cycle(replies)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self._send({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            base = {"id": "c", "created": 0, "model": asked.get("model", "scripted")}
            message = {"role": "assistant", "content": next(said)}
            if not asked.get("stream"):
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                body = {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
                self._send(body)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            chunk = {**base, "object": "chat.completion.chunk"}
            for choices, more in (
                ([{"index": 0, "delta": message, "finish_reason": None}], {}),
                ([{"index": 0, "delta": {}, "finish_reason": "stop"}], {}),
                ([], {"usage": usage}),
            ):
                event = json.dumps({**chunk, "choices": choices, **more})
                self.wfile.write(f"data: {event}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

        def _send(self, value):
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
