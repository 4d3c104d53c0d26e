"""Selected backends, models and cases of a session, and its plan."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from vlm_parity.backends.base import Settings
from vlm_parity.backends.installation import list_installed_backends
from vlm_parity.backends.registry import REFERENCE_BACKEND, list_backend_targets
from vlm_parity.models.model_list import ListedModel
from vlm_parity.models.registry import ALL_FAMILIES, DEFAULT_FAMILIES, FAMILIES
from vlm_parity.models.resolve import describe_unknown_model, is_model_spec
from vlm_parity.pytest_plugin.option_table import format_option, get_option
from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import load_cases
from vlm_parity.schema.case_selection import select_cases
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.share import Share
from vlm_parity.schema.suite_layout import CONVERSATIONS, REGRESSIONS
from vlm_parity.session.plan import Plan
from vlm_parity.util.encoding import check_encoding
from vlm_parity.util.environment_variables import check_variables
from vlm_parity.util.errors import EngineNotInstalledError, UsageError
from vlm_parity.util.option_paths import check_folder
from vlm_parity.util.suggestions import describe_unknown_name
from vlm_parity.util.text import escape_terminal, hide_passwords


def get_requested_backends(config: pytest.Config) -> list[str]:
    """Return the backends that ``--backend`` names, each once.

    Raises:
        pytest.UsageError: a name is unknown.
    """
    targets = sorted(list_backend_targets())
    requested: list[str] = get_option(config, "backend") or []
    for name in requested:
        if name not in targets:
            option = format_option(config, "backend")
            raise pytest.UsageError(describe_unknown_name(option, name, targets, "no such backend"))
    return list(dict.fromkeys(requested))


def get_backends(config: pytest.Config) -> list[str]:
    """Return the backends under test.

    Raises:
        pytest.UsageError: a name is unknown, or no name is given and no engine is installed.
    """
    backends = get_requested_backends(config) or list_installed_backends()
    if not backends:
        message = (
            "no serving engine is installed in this environment: install one, run tox (one environment for "
            "each engine), or compare the reference with itself by "
            f"{format_option(config, 'backend')} {REFERENCE_BACKEND}"
        )
        raise pytest.UsageError(message) from EngineNotInstalledError(message)
    return backends


def get_models(config: pytest.Config, model_list: Iterable[str] = ()) -> list[str]:
    """Return the models as the user wrote them; they are resolved when an engine needs them.

    Args:
        config: pytest's configuration.
        model_list: the names in the model list.
    """
    default = model_list if get_option(config, "model-list") else DEFAULT_FAMILIES
    requested: list[str] = get_option(config, "model") or list(default)
    expanded = [list(FAMILIES) if name == ALL_FAMILIES else [name] for name in requested]
    return list(dict.fromkeys(name for names in expanded for name in names))


def check_models(config: pytest.Config, model_list: Mapping[str, ListedModel]) -> None:
    """Check that each model of ``--model`` could be resolved; traces of an earlier run need no checkpoint.

    Raises:
        pytest.UsageError: a model is no family, entry of the model list, folder or hub id.
    """
    if get_option(config, "rejudge"):
        return
    for model in get_models(config, model_list):
        if not is_model_spec(model, model_list):
            raise pytest.UsageError(
                f"{format_option(config, 'model')}: {describe_unknown_model(model, model_list)}"
            )


def check_environment(config: pytest.Config) -> None:
    """Check the environment variables of vlm-parity, and that records can hold the command line.

    Raises:
        pytest.UsageError: a variable does not exist, its value has not the right type, or a word is no text.
    """
    try:
        check_variables()
        check_encoding(map(str, config.invocation_params.args))
    except UsageError as error:
        raise pytest.UsageError(escape_terminal(str(error))) from None


def get_cases(config: pytest.Config, folder: Path) -> dict[str, Case]:
    """Return the selected cases of the test modules of a folder, by name.

    Raises:
        pytest.UsageError: a case file does not fit the schema, a pattern matches no case, or a media root
            does not exist.
    """
    configured: Path | None = get_option(config, "cases")
    try:
        if configured is not None:
            check_folder(format_option(config, "cases"), configured)
        folders = (configured,) if configured else (folder / CONVERSATIONS, folder / REGRESSIONS)
        cases = load_cases(*folders, media_roots=_get_media_roots(config))
        return select_cases(cases, get_option(config, "case") or (), format_option(config, "case"))
    except UsageError as error:
        raise pytest.UsageError(escape_terminal(str(error))) from None


def _get_media_roots(config: pytest.Config) -> list[Path]:
    roots: list[Path] = get_option(config, "media-root")
    for root in roots:
        check_folder(format_option(config, "media-root"), root)
    return [root.resolve() for root in roots]


def make_plan(
    config: pytest.Config,
    run: Path,
    shard: str,
    model_list: Mapping[str, ListedModel] | None = None,
    share: Share | None = None,
) -> Plan:
    """Build the plan of a session from its options, which ``check_options`` has checked."""

    def option(name: str) -> Any:
        return get_option(config, name)

    settings = Settings(
        device=option("device"),
        depth=Depth(option("depth")),
        engine_args=dict(map(_parse_engine_arg, option("engine-arg"))),
    )
    return Plan(
        settings=settings,
        dtype=option("dtype"),
        reference_dtype=option("reference-dtype"),
        folder=run / "shards" / shard,
        command=format_command(config),
        reproduce=_build_reproduce_command(config, settings),
        share=share,
        reproduce_as=option("reproduce-command"),
        keep_logits=option("keep-logits"),
        locate=option("locate"),
        locate_within=_parse_block(option("locate-within")),
        saved_traces=option("rejudge"),
        reference_traces=option("reference-traces"),
        passes=option("repeat"),
        retries=not option("no-retry"),
        load_timeout=option("load-timeout"),
        case_timeout=option("case-timeout"),
        model_list=model_list or {},
    )


def _parse_block(text: str | None) -> tuple[str, str]:
    reference, _, engine = (text or "").partition("=")
    return reference, engine


def _parse_engine_arg(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def format_command(config: pytest.Config) -> str:
    """Return the command line of a session, without the passwords of URLs: the report shows it."""
    return hide_passwords(shlex.join(["pytest", *map(str, config.invocation_params.args)]))


def _build_reproduce_command(config: pytest.Config, settings: Settings) -> str:
    """Return ``parity run`` with the options that all verdicts share, without defaults."""
    words = ["parity", "run", "--depth", str(settings.depth)]
    for name, default in (("device", "cpu"), ("dtype", None), ("reference-dtype", None)):
        if get_option(config, name) != default:
            words += [f"--{name}", get_option(config, name)]
    if get_option(config, "model-list"):
        words += ["--model-list", str(get_option(config, "model-list"))]
    for root in get_option(config, "media-root"):
        words += ["--media-root", str(root)]
    for text in get_option(config, "engine-arg"):
        words += ["--engine-arg", text]
    return shlex.join(words)
