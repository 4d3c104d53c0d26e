"""The example of docs/guides/add_a_backend.md, as a third party would install and run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vlm_parity.cli.main import main
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.util.exit_codes import FAILED, PASSED

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "backend.py"


@pytest.mark.parametrize(
    ("options", "code", "kind", "stage"),
    [
        ((), PASSED, VerdictKind.MATCH, None),
        (("--engine-arg", "placeholder_id=0"), FAILED, VerdictKind.MISMATCH, "input_ids"),
    ],
)
def test_example_backend(
    install_backend: Callable[[str, Path, str], str],
    tmp_path: Path,
    options: tuple[str, ...],
    code: int,
    kind: VerdictKind,
    stage: str | None,
) -> None:
    pytest.importorskip("torch")
    echo = install_backend("echo", EXAMPLE, "echo_backend:EchoBackend")
    selection = ("--backend", echo, "--model", "qwen2_vl", "--case", "one_image", "--depth", "tokens")
    suite = str(ROOT / "cases")
    assert (
        main(["run", suite, *selection, *options, "--run", str(tmp_path), "--", "-p", "no:cacheprovider"])
        == code
    )
    (entry,) = load_run(tmp_path).verdicts
    assert (entry.verdict.kind, entry.verdict.first_divergence) == (kind, stage)
