"""A server whose responses are chosen by the request: run as ``tiny_server.py PORT``."""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

MESSAGE = "error message of the server"


class Handler(BaseHTTPRequestHandler):
    """Responds as the text of the last message orders."""

    healthy = True

    def do_GET(self) -> None:
        self.reply(200 if self.healthy else 503, {"data": [{"id": "m", "object": "model"}], "object": "list"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        order = body["messages"][-1]["content"]
        if order == "die":
            print("farewell", flush=True)
            os._exit(3)
        if order == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if order == "sick":
            Handler.healthy = False
            self.reply(500, {"error": {"message": MESSAGE}})
        elif order == "answer":
            assert body["ignore_eos"] is True
            completion: dict[str, Any] = {"id": "1", "object": "chat.completion", "choices": []}
            self.reply(200, {**completion, "prompt_token_ids": [1, 2]})
        elif order == "400 flat":
            self.reply(400, {"message": MESSAGE})
        else:
            status, _, message = order.partition(" ")
            self.reply(int(status), {"error": {"message": message or MESSAGE}})

    def reply(self, status: int, content: Any) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        """Do not log requests."""


server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
