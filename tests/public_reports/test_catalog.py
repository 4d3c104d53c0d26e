"""The catalog of public reports: every file fits, and names what exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_parity.backends.registry import list_backend_targets
from vlm_parity.models.registry import FAMILIES
from vlm_parity.public_reports.catalog import PublicReport, Status, load_public_reports
from vlm_parity.replay.catalog import load_replays
from vlm_parity.util.checkout import REPOSITORY_ROOT
from vlm_parity.util.errors import PublicReportError

CASES = REPOSITORY_ROOT / "cases"
REPORTS = load_public_reports(CASES / "reports")
WRITTEN = [report for report in REPORTS.values() if report.is_written]
LINES = "title: t\nupstream: ['https://host/1']\nreported: r\n"
ASKED = LINES + "backend: vllm\nmodel: qwen2_vl\ncase: one_image\n"


@pytest.mark.parametrize("report", WRITTEN, ids=lambda report: report.name)
def test_a_report_asks_what_exists(report: PublicReport) -> None:
    assert report.backend in list_backend_targets()
    assert report.model in FAMILIES
    if report.replay:
        replay = load_replays(CASES / "replays")[report.replay]
        assert (replay.backend, replay.model, replay.case_name) == (report.backend, report.model, report.case)
        assert report.expected is not None
        assert (replay.stage, replay.cause) == (report.expected.stage, report.expected.cause)
        assert set(replay.upstream) == set(report.upstream)
    else:
        assert (CASES / "conversations" / f"{report.case}.yaml").exists()


def test_every_replay_is_a_report() -> None:
    assert set(load_replays(CASES / "replays")) == {report.replay for report in WRITTEN if report.replay}


def test_no_link_is_listed_twice() -> None:
    links = [link for report in REPORTS.values() for link in report.upstream]
    assert len(set(links)) == len(links)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LINES, "needs backend, model, case and status, or missing"),
        (LINES + "missing: m\nstatus: live\n", "has neither case nor status"),
        (ASKED + "status: live\n", "expected: belongs to the states live and replayed"),
        (ASKED + "status: replayed\nexpected: {stage: prompt}\n", "replay: belongs to the status replayed"),
        (ASKED + "status: live\nexpected: {stage: nowhere}\n", "no stage 'nowhere'"),
        (ASKED + "status: live\nexpected: {stage: prompt, cause: magic}\n", "no rule names 'magic'"),
        (ASKED + "status: unknown\n", "status"),
        (LINES.replace("https", "ftp") + "missing: m\n", "upstream"),
        (LINES + "missing: m\nname: x\n", "the file names the report"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(PublicReportError, match=reason) as caught:
        load_public_reports(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/a.yaml:")


def test_a_folder_without_a_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(PublicReportError, match="holds no report"):
        load_public_reports(tmp_path)


def test_the_command_asks_the_report() -> None:
    report = REPORTS["vllm_prefix_cache_ignores_images"]
    assert (
        report.command == "parity run --backend vllm --model qwen3_vl --case one_image --mode prefix_cached"
    )
    assert REPORTS["vllm_bos_twice"].command == "parity replay vllm_bos_twice"
    assert report.status is Status.AGREES
