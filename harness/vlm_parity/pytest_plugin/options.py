"""Declaration of the options of a comparison."""

from __future__ import annotations

from vlm_parity.models.registry import ALL_FAMILIES, DEFAULT_FAMILIES
from vlm_parity.pytest_plugin.known_issues_option import add_known_issues_options
from vlm_parity.pytest_plugin.model_list_option import add_model_list_option
from vlm_parity.pytest_plugin.option_table import AddOption
from vlm_parity.pytest_plugin.setup_options import add_setup_options
from vlm_parity.pytest_plugin.share_option import add_share_options
from vlm_parity.pytest_plugin.store_option import add_store_option
from vlm_parity.schema.engine_setup import DTYPES, Depth
from vlm_parity.util.option_types import parse_assignment, parse_count, parse_path, parse_seconds, parse_text


def add_options(add: AddOption) -> None:
    """Declare the options of a comparison."""
    _add_selection_options(add)
    _add_engine_options(add)
    _add_run_options(add)
    _add_trace_options(add)


def _add_selection_options(add: AddOption) -> None:
    add(
        "backend",
        action="append",
        metavar="NAME",
        help="engine under test; repeatable (default: every installed one)",
    )
    add(
        "model",
        action="append",
        metavar="MODEL",
        help="family (its tiny synthetic checkpoint), FAMILY:two_templates or FAMILY:macro for other chat "
        "templates, name in the model list, folder, or hub id "
        f"org/name[@revision]; repeatable (default: {', '.join(DEFAULT_FAMILIES)}; {ALL_FAMILIES}: every "
        "family)",
    )
    add_model_list_option(add)
    add_setup_options(add)
    add(
        "case",
        action="append",
        metavar="PATTERN",
        help="case by name or shell pattern; repeatable (default: every case)",
    )
    add(
        "cases",
        type=parse_path,
        metavar="DIR",
        help="folder of case files (default: conversations/ and regressions/ next to the test modules)",
    )
    add(
        "media-root",
        type=parse_path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder of media files that cases may name besides their own folders; repeatable",
    )
    add_known_issues_options(add)


def _add_engine_options(add: AddOption) -> None:
    add(
        "depth",
        choices=[str(depth) for depth in Depth],
        default=str(Depth.LOGITS),
        help="tokens: compare model inputs, no weights; logits: compare outputs too (default: %(default)s)",
    )
    add("device", choices=["cpu", "cuda"], default="cpu", help="device of the engines (default: %(default)s)")
    add(
        "dtype",
        choices=DTYPES,
        help="dtype of the engine under test (default: float32; bfloat16 for the few synthetic checkpoints "
        "whose architecture the engine supports in no other)",
    )
    add(
        "reference-dtype",
        choices=("float64", *DTYPES),
        help="dtype of the reference (default: float64 for a synthetic checkpoint, else float32)",
    )
    add(
        "engine-arg",
        action="append",
        type=parse_assignment,
        default=[],
        metavar="NAME=VALUE",
        help="argument of the engine's constructor, instead of vlm-parity's default; VALUE is JSON or plain "
        "text; repeatable",
    )
    add(
        "load-timeout",
        type=parse_seconds,
        default=900.0,
        metavar="S",
        help="seconds until an engine that has not loaded counts as crashed (default: %(default)s)",
    )
    add(
        "case-timeout",
        type=parse_seconds,
        default=300.0,
        metavar="S",
        help="seconds until a case that has not finished counts as a crash (default: %(default)s)",
    )
    add(
        "no-retry",
        action="store_true",
        help="do not run a case again after a crash, a timeout or an out-of-memory error; by default, it is "
        "run again once, in a new process",
    )
    add(
        "repeat",
        type=parse_count,
        default=3,
        metavar="N",
        help="passes over a case that differs: a difference that comes and goes is unstable, which does not "
        "pass (default: %(default)s; 1: do not repeat)",
    )


def _add_run_options(add: AddOption) -> None:
    add("run", type=parse_path, metavar="DIR", help="run folder to write into (default: reports/<time>)")
    add_store_option(add)
    add_share_options(add)
    add(
        "reproduce-command",
        type=parse_text,
        metavar="COMMAND",
        help="command that the report prints for reproducing a verdict (default: `parity run` with these "
        "options)",
    )


def _add_trace_options(add: AddOption) -> None:
    add(
        "locate",
        action="store_true",
        help="name the modules of the model behind each difference at vision, prefill or decode: the engine "
        "and the reference run such a case once more, with their modules recorded",
    )
    add(
        "locate-within",
        type=parse_assignment,
        metavar="MODULE=MODULE",
        help="with --locate: record the modules of this block only, named as in transformers and as in the "
        "engine; by default of all, or of whole blocks if they exceed 1 GiB",
    )
    add(
        "keep-logits",
        action="store_true",
        help="keep the full logits of both sides in the run folder (hundreds of MB per case)",
    )
    add(
        "rejudge",
        type=parse_path,
        metavar="RUN",
        help="compare the stored traces of an earlier run again; no engine starts "
        "(logits need a run made with --keep-logits)",
    )
    add(
        "reference-traces",
        type=parse_path,
        metavar="DIR",
        help="read the reference's traces from this shard of a run (RUN/shards/NAME), made with --backend "
        "transformers --keep-logits in an environment with another version of transformers",
    )
