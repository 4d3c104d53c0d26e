"""The ``parity`` command: its subcommands, and the exit code of each."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from vlm_parity import __version__
from vlm_parity.cli import (
    cases,
    check,
    compare,
    environment,
    gate,
    known,
    locate,
    lock,
    models,
    releases,
    report,
    reports,
    selfcheck,
    serve,
    store,
    trends,
)
from vlm_parity.cli.parsers import EXIT_CODES
from vlm_parity.cli.run import run_comparison
from vlm_parity.util.encoding import check_encoding, escape_unprintable_output
from vlm_parity.util.environment_variables import check_variables
from vlm_parity.util.errors import ParityError, UsageError
from vlm_parity.util.exit_codes import NOT_COMPARED, USAGE
from vlm_parity.util.interrupts import raise_on_termination
from vlm_parity.util.text import escape_terminal

_MODULES = (
    *(check, report, serve, compare, gate, store, trends, locate, releases),
    *(selfcheck, reports, cases, models, environment, known, lock),
)
_DESCRIPTION = """\
Differential parity tests: do serving engines feed a vision-language model the same inputs as transformers,
and do they get the same outputs?

  parity run --backend vllm --model qwen2_vl --case one_image    compare an engine that is installed here
  parity check ./my-checkpoint                                   check a checkpoint before its release
  tox                                                            compare all engines, one environment each

`parity COMMAND --help` explains a command, with examples.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code.

    An error of the harness is printed as a sentence. A usage error exits with ``USAGE``; every other one,
    such as an engine that is not installed, prevented a comparison and exits with ``NOT_COMPARED``. So does
    any other exception; its traceback, which may quote anything, is escaped.

    Args:
        arguments: the command line after ``parity``; by default that of this process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    escape_unprintable_output()
    try:
        with raise_on_termination():
            return _run(words)
    except ParityError as error:
        sentence = f"{' '.join(['parity', *words[:1]])}: error: {error}"
        sys.stderr.write(f"{escape_terminal(sentence)}\n")
        return USAGE if isinstance(error, UsageError) else NOT_COMPARED
    except Exception:
        sys.stderr.write(escape_terminal(traceback.format_exc()))
        return NOT_COMPARED
    except KeyboardInterrupt as error:
        sentence = f"parity: interrupted{f' by {error}' if str(error) else ''}"
        sys.stderr.write(f"{escape_terminal(sentence)}\n")
        return NOT_COMPARED


def _run(words: list[str]) -> int:
    check_encoding(words)
    if words[:1] == ["run"]:  # its options are those of the pytest plug-in
        return run_comparison(words[1:])
    args = build_parser().parse_args(words)
    check_variables()
    code: int = args.run(args)
    return code


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands but ``parity run``, of which it holds only the name."""
    parser = argparse.ArgumentParser(
        "parity",
        description=_DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("run", help="compare engines with transformers", add_help=False)
    for module in _MODULES:
        module.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
