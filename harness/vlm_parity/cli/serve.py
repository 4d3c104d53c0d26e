"""``parity serve``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vlm_parity.cli.parsers import Commands, add_command
from vlm_parity.util.exit_codes import PASSED
from vlm_parity.util.option_paths import check_folder
from vlm_parity.util.option_types import parse_path, parse_port, parse_text
from vlm_parity.util.text import escape_terminal

DEFAULT_PORT = 8000
_DESCRIPTION = """\
Serve the report of a run, or of each run in a folder, to browsers on this machine until Ctrl-C.

  parity serve                                    every run in reports/
  parity serve reports/latest --port 0            one run, on a free port
"""


def add_commands(commands: Commands) -> None:
    """Add ``serve``."""
    parser = add_command(
        commands,
        "serve",
        _serve,
        summary="serve reports to browsers on this machine",
        description=_DESCRIPTION,
    )
    add = parser.add_argument
    add(
        "folder",
        nargs="?",
        type=parse_path,
        default=Path("reports"),
        metavar="DIR",
        help="run folder with a report, or folder of such runs (default: reports)",
    )
    add(
        "--port",
        type=parse_port,
        default=DEFAULT_PORT,
        metavar="PORT",
        help=f"port to listen on, 0 for a free one (default: {DEFAULT_PORT})",
    )
    add(
        "--host",
        type=parse_text,
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on (default: 127.0.0.1: only this machine)",
    )


def _serve(args: argparse.Namespace) -> int:
    from vlm_parity.report.run_server import RunServer
    from vlm_parity.report.run_site import RunSite

    check_folder("DIR", args.folder)
    with RunServer(RunSite(args.folder), args.host, args.port) as server:
        try:
            sys.stdout.write(escape_terminal(f"{args.folder}: {server.url} (Ctrl-C ends)") + "\n")
            sys.stdout.flush()
            server.serve_forever()
        except KeyboardInterrupt:
            sys.stdout.write("\n")
    return PASSED
