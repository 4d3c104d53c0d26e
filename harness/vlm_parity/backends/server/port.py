"""A port of the loopback interface: reserved for a server, and checked to be served by nobody else."""

from __future__ import annotations

import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vlm_parity.util.errors import ForeignServerError
from vlm_parity.util.supervisor import list_descendants

HOST = "127.0.0.1"
_LISTEN = "0A"  # state of a socket in /proc/net/tcp
_MAX_COMMAND_LENGTH = 200


def _format_address(packed: bytes) -> str:
    """Return an address as in ``/proc/net/tcp``: words in the machine's byte order."""
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


_REACHED = {
    *(_format_address(socket.inet_pton(socket.AF_INET, address)) for address in (HOST, "0.0.0.0")),  # noqa: S104
    *(_format_address(socket.inet_pton(socket.AF_INET6, address)) for address in ("::", f"::ffff:{HOST}")),
}
"""Addresses of sockets that accept connections to ``HOST``."""


def reserve_port() -> socket.socket:
    """Bind a free port of the loopback interface; the reservation ends when the socket is closed.

    The kernel does not assign the port to anybody else, and a server that sets ``SO_REUSEADDR``, as they do,
    can listen on it. Other systems than Linux do not allow the latter, so the port is free again there.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((HOST, 0))
    return reserved


def is_served_by(port: int, root: int) -> bool:
    """Return whether a process or a descendant of it listens on a port.

    Raises:
        ForeignServerError: another process listens on it.
    """
    listening = set(_list_listening(port))
    own = {inode for pid in (root, *list_descendants(root)) for inode in _list_sockets(pid)}
    foreign = (listening - own) & set(_list_listening(port))  # not one that was just closed
    if foreign:
        raise ForeignServerError(
            f"port {port}: {_describe_owner(foreign)} listens on it, not the server that was started; "
            "nothing was sent to it. Stop it, or start again, which reserves another port"
        )
    return bool(listening)


def _list_listening(port: int) -> Iterator[int]:
    """Yield the inodes of the sockets that accept connections to a port of ``HOST``."""
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):  # a kernel without IPv6
            for line in Path("/proc/self/net", table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                address, _, number = fields[1].partition(":")
                if fields[3] == _LISTEN and int(number, 16) == port and address in _REACHED:
                    yield int(fields[9])


def _list_sockets(pid: int) -> Iterator[int]:
    """Yield the inodes of the sockets that a process has open; none if it has ended or is another user's."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed
                kind, _, inode = str(descriptor.readlink()).partition(":")
                if kind == "socket":
                    yield int(inode.strip("[]"))


def _describe_owner(inodes: set[int]) -> str:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and not inodes.isdisjoint(_list_sockets(int(folder.name))):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                words = (folder / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")[:-1]
                return f"process {folder.name} ({shlex.join(words)[:_MAX_COMMAND_LENGTH]})"
    return "a process of another user"
