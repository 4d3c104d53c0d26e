"""``parity promote``: what the fuzzer found becomes a case that is run every time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import load_case, write_case
from vlm_parity.schema.media_source import MediaFile
from vlm_parity.util.errors import CaseError, PromotionError

_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


def promote_findings(found: Path, names: Sequence[str], into: Path, rename: str | None = None) -> list[Path]:
    """Copies shrunk cases to where they are run with all others.

    Args:
        found: the run folder that holds them, or the file of one.
        names: of the cases of a run; all of them if none is given.
        into: the folder of regressions.
        rename: what the one case is to be called.

    Returns:
        The new files.

    Raises:
        PromotionError: there is no such case, it is no case, its name is taken, or it needs a file.
    """
    chosen = _select_findings(found, names)
    if rename is not None and len(chosen) != 1:
        raise PromotionError(f"--as names one case, and there are {len(chosen)}: name it")
    if rename is not None and not _NAME.fullmatch(rename):
        raise PromotionError(f"{rename}: a name is of lower case letters, digits and _")
    targets = [into / f"{rename or path.stem}.yaml" for path in chosen]
    cases = [_read_case(path) for path in chosen]
    for path in targets:
        _check_name_is_free(path, into)
    for source, case, path in zip(chosen, cases, targets, strict=True):
        write_case(path, case, _build_comment(source, path.stem))
        load_case(path)
    return targets


def _select_findings(found: Path, names: Sequence[str]) -> list[Path]:
    if found.is_file():
        if names:
            raise PromotionError(f"{found} is one case: names are for a run")
        return [found]
    there = {path.stem: path for path in sorted(found.glob("shards/*/cases/*.yaml"))}
    if not there:
        raise PromotionError(f"{found}: holds no case that the fuzzer found (shards/*/cases/*.yaml)")
    for name in names:
        if name not in there:
            raise PromotionError(f"{found}: no case {name}; there are: {', '.join(there)}")
    return [there[name] for name in names or there]


def _read_case(path: Path) -> Case:
    try:
        case = load_case(path)
    except CaseError as problem:
        raise PromotionError(str(problem)) from problem
    if any(isinstance(part.source, MediaFile) for _, part in case.media):
        raise PromotionError(f"{path}: needs a file beside it; copy both by hand")
    return case


def _check_name_is_free(path: Path, into: Path) -> None:
    for folder in (into, into.parent / "conversations"):
        if (folder / path.name).exists():
            raise PromotionError(f"{folder / path.name}: is there already; --name NAME gives it another name")


def _build_comment(source: Path, name: str) -> list[str]:
    """The comment of the source, but for its command, which leads to a run that will be gone."""
    lines = source.read_text(encoding="utf-8").splitlines()
    told = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return [*(line for line in told if not line.startswith("parity run ")), f"parity run --case {name}"]
