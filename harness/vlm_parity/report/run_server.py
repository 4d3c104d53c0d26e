"""A local web server for the reports of runs."""

from __future__ import annotations

import ipaddress
import socket
import socketserver
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from vlm_parity.report.run_site import Response, RunSite
from vlm_parity.util.errors import UsageError

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_HEADERS = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FOREIGN_HOST = Response(HTTPStatus.MISDIRECTED_REQUEST, b"The Host header names another server.\n")


class RunServer(ThreadingHTTPServer):
    """Serves a site at one address, bound when the server is made; ``serve_forever`` runs it.

    On a loopback address, requests must name one: a page of a foreign site whose name resolves to this
    machine (DNS rebinding) reads nothing.
    """

    def __init__(self, site: RunSite, host: str, port: int) -> None:
        """Bind the address.

        Args:
            site: answers the requests.
            host: a name or an address of this machine.
            port: 0 for a free one.

        Raises:
            UsageError: the address cannot be bound, for instance because another process uses it.
        """
        self.site = site
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self.address_family = family
            super().__init__((str(address[0]), port), _Handler)
        except OSError as error:
            raise UsageError(f"--host {host} --port {port}: {error.strerror or error}") from error
        self.is_loopback = ipaddress.ip_address(self.server_name).is_loopback

    def server_bind(self) -> None:
        """Bind without the name lookup of ``http.server``, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    @property
    def url(self) -> str:
        """The address of the site."""
        is_ipv6 = self.address_family == socket.AF_INET6
        return f"http://{f'[{self.server_name}]' if is_ipv6 else self.server_name}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: RunServer
    server_version = "vlm-parity"
    sys_version = ""
    timeout = 30.0

    def do_GET(self) -> None:
        self._send(self._get_response(), has_body=True)

    def do_HEAD(self) -> None:
        self._send(self._get_response(), has_body=False)

    def log_message(self, *_: object) -> None:
        """Log nothing: requests are untrusted text."""

    def _get_response(self) -> Response:
        if self.server.is_loopback and _get_host_name(self.headers.get("Host", "")) not in _LOOPBACK_NAMES:
            return _FOREIGN_HOST
        return self.server.site.get(self.path)

    def _send(self, response: Response, *, has_body: bool) -> None:
        self.send_response(response.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if response.location:
            self.send_header("Location", response.location)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if has_body:
            self.wfile.write(response.body)


def _get_host_name(header: str) -> str | None:
    """Return the name or address in a Host header; None if it holds none."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:  # brackets without an address
        return None
