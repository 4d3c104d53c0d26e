"""``parity promote``: keeps findings of the fuzzer as cases of the regression suite."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import load_case, write_case
from vlm_parity.schema.media_source import MediaFile
from vlm_parity.schema.suite_layout import CONVERSATIONS
from vlm_parity.util.errors import CaseError, PromotionError
from vlm_parity.util.option_paths import (
    check_folder,
    check_output_folder,
    path_exists,
)
from vlm_parity.util.suggestions import describe_unknown_name
from vlm_parity.util.writable_folder import ensure_writable

_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,99}")


def promote_findings(
    source: Path, names: Sequence[str], output_dir: Path, rename: str | None = None
) -> list[Path]:
    """Copy shrunk cases to the folder of regressions, where they run with all others.

    Args:
        source: the run folder that holds them, or the file of one case.
        names: the cases of a run to copy; all of them if empty.
        output_dir: the folder of regressions.
        rename: a new name, for a single case.

    Returns:
        The new files.

    Raises:
        PromotionError: a case does not exist, is not valid, needs a file, or its name is taken.
        UsageError: the folder of regressions cannot be created or written.
    """
    check_output_folder("--output-dir", output_dir)
    selected = _select_findings(source, names)
    if rename is not None and len(selected) != 1:
        raise PromotionError(f"--name renames a single case, and {len(selected)} are selected")
    if rename is not None and not _NAME.fullmatch(rename):
        raise PromotionError(
            f"--name {rename!r}: a name is 100 lower case letters, digits and underscores at most, and does "
            "not begin with an underscore"
        )
    targets = [output_dir / f"{rename or path.stem}.yaml" for path in selected]
    cases = [_read_case(path) for path in selected]
    for path in targets:
        _check_name_is_free(path, output_dir)
    ensure_writable(output_dir, "the folder of regressions", "name another folder with --output-dir")
    for finding, case, path in zip(selected, cases, targets, strict=True):
        write_case(path, case, _build_comment(finding, path.stem))
        load_case(path)
    return targets


def _select_findings(source: Path, names: Sequence[str]) -> list[Path]:
    if path_exists("RUN_OR_FILE", source) and source.is_file():
        if names:
            raise PromotionError(f"{source} is a single case: names select cases of a run")
        return [source]
    check_folder("RUN_OR_FILE", source)
    findings = {path.stem: path for path in sorted(source.glob("shards/*/cases/*.yaml"))}
    if not findings:
        raise PromotionError(f"{source}: holds no case of the fuzzer (shards/*/cases/*.yaml)")
    for name in names:
        if name not in findings:
            raise PromotionError(describe_unknown_name("NAME", name, findings, f"no such case in {source}"))
    return [findings[name] for name in names or findings]


def _read_case(path: Path) -> Case:
    try:
        case = load_case(path)
    except CaseError as error:
        raise PromotionError(str(error)) from error
    if any(isinstance(part.source, MediaFile) for _, part in case.media):
        raise PromotionError(f"{path}: needs a media file; copy both by hand")
    return case


def _check_name_is_free(path: Path, output_dir: Path) -> None:
    for folder in (output_dir, output_dir.parent / CONVERSATIONS):
        if (folder / path.name).exists():
            raise PromotionError(f"{folder / path.name}: exists already; --name NAME renames the case")


def _build_comment(finding: Path, name: str) -> list[str]:
    """Copy the comment of a finding, except for its command, which refers to the run folder."""
    lines = finding.read_text(encoding="utf-8").splitlines()
    comment = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return [*(line for line in comment if not line.startswith("parity run ")), f"parity run --case {name}"]
