"""The options that the harness adds to pytest, and what they mean."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from vlm_parity.backends.base import DTYPES, Settings
from vlm_parity.backends.registry import REFERENCE_BACKEND, list_backend_targets, load_backend_class
from vlm_parity.models.model_list import ListedModel
from vlm_parity.models.registry import ALL_FAMILIES, DEFAULT_FAMILIES, FAMILIES
from vlm_parity.pytest_plugin.known_issues_option import add_known_issues_options
from vlm_parity.pytest_plugin.model_list_option import add_model_list_option
from vlm_parity.pytest_plugin.option_table import AddOption, format_option, get_option
from vlm_parity.pytest_plugin.setup_options import add_setup_options
from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import load_cases
from vlm_parity.schema.trace import Depth
from vlm_parity.session.plan import Plan
from vlm_parity.util.clock import format_timestamp
from vlm_parity.util.errors import CaseError

REGRESSIONS = "regressions"
"""The folder beside ``conversations`` for cases that the fuzzer found; see ``parity promote``."""


def add_options(add: AddOption) -> None:
    """Declare the options of a comparison."""
    add(
        "backend",
        action="append",
        metavar="NAME",
        help="engine under test, repeatable (default: every installed one)",
    )
    add(
        "model",
        action="append",
        metavar="MODEL",
        help="family (its tiny synthetic checkpoint), name in the model list, folder, or hub id "
        f"org/name[@revision]; repeatable (default: {', '.join(DEFAULT_FAMILIES)}; {ALL_FAMILIES}: every family)",
    )
    add_model_list_option(add)
    add_setup_options(add)
    add(
        "case",
        action="append",
        metavar="PATTERN",
        help="case by name or shell pattern, repeatable (default: every case)",
    )
    add(
        "cases",
        type=Path,
        metavar="DIR",
        help="folder of the cases (default: conversations/ and regressions/ beside the test modules)",
    )
    add_known_issues_options(add)
    add(
        "depth",
        choices=[str(depth) for depth in Depth],
        default=str(Depth.LOGITS),
        help="tokens: front ends only, no weights; logits: the engines run (default: %(default)s)",
    )
    add(
        "device",
        choices=["cpu", "cuda"],
        default="cpu",
        help="where the engines run (default: %(default)s)",
    )
    add(
        "dtype",
        choices=DTYPES,
        help="what the engine under test computes in (default: float32, bfloat16 for the few synthetic "
        "checkpoints whose architecture an engine runs in nothing else)",
    )
    add(
        "reference-dtype",
        choices=("float64", *DTYPES),
        help="what the reference computes in (default: float64 for a synthetic checkpoint, else float32)",
    )
    add(
        "engine-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="told to the engine's constructor, over the harness's choices; VALUE is JSON or plain text; "
        "repeatable",
    )
    add(
        "run",
        type=Path,
        metavar="DIR",
        help="run folder to write into (default: reports/<time>)",
    )
    add(
        "shard",
        metavar="NAME",
        help="name of this session's shard of the run; an existing one is replaced "
        "(default: time and backends)",
    )
    add(
        "keep-logits",
        action="store_true",
        help="keep the full logits of both sides in the run folder (hundreds of MB a case)",
    )
    add(
        "rejudge",
        type=Path,
        metavar="RUN",
        help="compare the traces of an earlier run again; no engine starts "
        "(for logits, a run made with --keep-logits)",
    )
    add(
        "reference-traces",
        type=Path,
        metavar="DIR",
        help="take the reference's traces from this shard of a run (RUN/shards/NAME), made with --backend "
        "transformers --keep-logits in an environment with another transformers",
    )
    add(
        "reproduce-command",
        metavar="COMMAND",
        help="what the report names as the command that makes a verdict again (default: pytest with these "
        "options)",
    )
    add(
        "load-timeout",
        type=float,
        default=900.0,
        metavar="S",
        help="seconds that an engine may take to load (default: %(default)s)",
    )
    add(
        "case-timeout",
        type=float,
        default=300.0,
        metavar="S",
        help="seconds that a case may take before it counts as a crash (default: %(default)s)",
    )


def get_backends(config: pytest.Config) -> list[str]:
    """The backends under test.

    Raises:
        pytest.UsageError: one is unknown, or none is named and none is installed.
    """
    targets = list_backend_targets()
    named: list[str] = get_option(config, "backend") or []
    for name in named:
        if name not in targets:
            raise pytest.UsageError(
                f"{format_option(config, 'backend')} {name}: there is no such backend; there are: {', '.join(sorted(targets))}"
            )
    found = named or _installed_backends()
    if not found:
        raise pytest.UsageError(
            "no serving engine is installed in this environment: install one, run tox (which makes an "
            f"environment for each), or test the reference against itself with {format_option(config, 'backend')} {REFERENCE_BACKEND}"
        )
    return found


def _installed_backends() -> list[str]:
    return [
        name
        for name in list_backend_targets()
        if name != REFERENCE_BACKEND and find_spec(load_backend_class(name).engine)
    ]


def get_models(config: pytest.Config, model_list: Iterable[str] = ()) -> list[str]:
    """The models as the user wrote them; they are looked up when an engine needs them.

    Args:
        config: pytest's.
        listed: the names in the model list.
    """
    default = model_list if get_option(config, "model-list") else DEFAULT_FAMILIES
    named: list[str] = get_option(config, "model") or list(default)
    spread = [list(FAMILIES) if name == ALL_FAMILIES else [name] for name in named]
    return list(dict.fromkeys(name for names in spread for name in names))


def get_cases(config: pytest.Config, beside: Path) -> dict[str, Case]:
    """The cases under test by name.

    Raises:
        pytest.UsageError: a case file does not fit the schema, or a pattern fits no case.
    """
    try:
        chosen: Path | None = get_option(config, "cases")
        folders = (chosen,) if chosen else (beside / "conversations", beside / REGRESSIONS)
        cases = load_cases(*folders)
    except CaseError as problem:
        raise pytest.UsageError(str(problem)) from None
    patterns = get_option(config, "case") or ["*"]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in cases):
            raise pytest.UsageError(
                f"{format_option(config, 'case')} {pattern}: fits none of: {', '.join(cases)}"
            )
    return {name: case for name, case in cases.items() if any(fnmatchcase(name, one) for one in patterns)}


def make_plan(
    config: pytest.Config, run: Path, shard: str, model_list: Mapping[str, ListedModel] | None = None
) -> Plan:
    """What the session is to do."""

    def option(name: str) -> Any:
        return get_option(config, name)

    settings = Settings(
        device=option("device"),
        depth=Depth(option("depth")),
        engine_args=dict(_engine_argument(config, text) for text in option("engine-arg")),
    )
    return Plan(
        settings=settings,
        dtype=option("dtype"),
        reference_dtype=option("reference-dtype"),
        folder=run / "shards" / shard,
        command=shlex.join(["pytest", *map(str, config.invocation_params.args)]),
        reproduce=_reproduce(config, settings),
        reproduce_as=option("reproduce-command"),
        keep_logits=option("keep-logits"),
        saved_traces=option("rejudge"),
        reference_traces=option("reference-traces"),
        load_timeout=option("load-timeout"),
        case_timeout=option("case-timeout"),
        model_list=model_list or {},
    )


def get_default_run(config: pytest.Config) -> Path:
    """The run folder: the one asked for, else a new one under ``reports/``."""
    chosen: Path | None = get_option(config, "run")
    return chosen or config.rootpath / "reports" / format_timestamp()


def get_default_shard(config: pytest.Config) -> str:
    """The part's name: the one asked for, else one that no other session has."""
    chosen: str | None = get_option(config, "shard")
    return (
        chosen or f"{format_timestamp()}-{'+'.join(get_option(config, 'backend') or _installed_backends())}"
    )


def _engine_argument(config: pytest.Config, text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise pytest.UsageError(f"{format_option(config, 'engine-arg')} {text}: has to be NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _reproduce(config: pytest.Config, settings: Settings) -> str:
    """Return ``parity run`` with the options that every verdict shares, without defaults."""
    words = ["parity", "run", "--depth", str(settings.depth)]
    for name, default in (("device", "cpu"), ("dtype", None), ("reference-dtype", None)):
        if get_option(config, name) != default:
            words += [f"--{name}", get_option(config, name)]
    if get_option(config, "model-list"):
        words += ["--model-list", str(get_option(config, "model-list"))]
    for text in get_option(config, "engine-arg"):
        words += ["--engine-arg", text]
    return shlex.join(words)
