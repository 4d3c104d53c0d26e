"""A server of our own that answers what it is told to: run as ``tiny_server.py PORT``."""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

SAID = "said by the server"
healthy = True


class Handler(BaseHTTPRequestHandler):
    """Orders are the last message's text."""

    def do_GET(self) -> None:
        self.reply(200 if healthy else 503, {"data": [{"id": "m", "object": "model"}], "object": "list"})

    def do_POST(self) -> None:
        global healthy
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        order = body["messages"][-1]["content"]
        if order == "die":
            print("farewell", flush=True)
            os._exit(3)
        if order == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if order == "sick":
            healthy = False
            self.reply(500, {"error": {"message": SAID}})
        elif order == "answer":
            assert body["ignore_eos"] is True
            answer: dict[str, Any] = {"id": "1", "object": "chat.completion", "choices": []}
            self.reply(200, {**answer, "prompt_token_ids": [1, 2]})
        elif order == "400 flat":
            self.reply(400, {"message": SAID})
        else:
            status, _, words = order.partition(" ")
            self.reply(int(status), {"error": {"message": words or SAID}})

    def reply(self, status: int, content: Any) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        """Says nothing of requests."""


server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
