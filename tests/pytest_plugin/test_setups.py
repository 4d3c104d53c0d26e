"""Sessions on an engine in several modes and entry points, and with its largest media."""

from __future__ import annotations

import shutil

import pytest

from tests.support.plugin_sessions import ALL_SETUPS, CASES, RunPytest, count_loads, list_failures
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import VerdictKind

pytest_plugins = ["pytester"]


def test_each_mode_is_an_engine_load_of_its_own(engine: RunPytest, pytester: pytest.Pytester) -> None:
    result = engine(*ALL_SETUPS, "--keep-logits", "--case", "two_images", "--case", "text_only")
    assert result.ret == pytest.ExitCode.OK
    assert {name: count for name, count in count_loads(pytester).items() if "reference" not in name} == {
        "tiny-model-tiny_engine": 1,
        "tiny-model-tiny_engine-prefix_cached": 1,
        "tiny-model-tiny_engine-picky": 1,
    }
    run = load_run(pytester.path / "run")
    verdicts = {(entry.verdict.label, entry.verdict.case): entry.verdict for entry in run.verdicts}
    assert len(verdicts) == 8  # an entry point shares the engine
    cached = verdicts["tiny_engine-prefix_cached", "two_images"]
    length = len(cached.reference.input_ids or ())
    assert cached.stage(Stage.PREFILL).metrics["positions"] == 1
    assert cached.stage(Stage.PREFILL).metrics["cached_tokens"] == length - 1
    assert cached.tested.mode_note == f"{length - 1} cached"
    picky = verdicts["tiny_engine-picky", "text_only"]
    assert picky.stage(Stage.PREFILL).message == "tiny_engine: there is no image"
    assert picky.stage(Stage.INPUT_IDS).status == "match"


@pytest.fixture
def max_size_cases(pytester: pytest.Pytester) -> None:
    """Add two cases: the largest image of the engine, and its largest video, which it does not have."""
    folder = pytester.path / "cases"
    for name in ("max_size_image", "max_size_video"):
        shutil.copy(CASES / "conversations" / f"{name}.yaml", folder / "conversations")
    (folder / "test_max_size.py").write_text(
        "import pytest\npytestmark = pytest.mark.parity_tokens\n"
        "def test_encoder_budget(parity_comparison): parity_comparison.check('encoder_budget')\n"
    )


@pytest.mark.usefixtures("parity", "max_size_cases")
def test_largest_media_come_from_engine_first(engine: RunPytest, pytester: pytest.Pytester) -> None:
    result = engine("--case", "max_size_*", "--case", "text_only", "--keep-logits")
    assert result.ret == pytest.ExitCode.OK
    assert count_loads(pytester) == {"tiny-model-reference": 2, "tiny-model-tiny_engine": 1}
    found = {entry.verdict.case: entry.verdict for entry in load_run(pytester.path / "run").verdicts}
    image, video = found["max_size_image"], found["max_size_video"]
    assert (image.kind, image.stage(Stage.ENCODER_BUDGET).metrics) == (
        VerdictKind.MATCH,
        {"encoder_budget": 3, "actual": 3},
    )
    assert image.reference.case_digest == image.tested.case_digest
    assert (video.kind, video.reason) == (
        VerdictKind.UNSUPPORTED,
        "tiny_engine does not report an encoder budget for video",
    )
    assert video.reference.message == "not run: only the engine determines its largest video"
    assert found["text_only"].stage(Stage.ENCODER_BUDGET).message == ("the case has no max_size medium")


@pytest.mark.usefixtures("parity", "max_size_cases")
def test_wrong_encoder_budget_is_mismatch_also_from_stored_traces(
    engine: RunPytest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = ("--case", "max_size_image", "--depth", "tokens")
    first = engine(*large, "--engine-arg", "wrong encoder_budget=true", "--keep-logits")
    assert list_failures(first) == ["test_encoder_budget[tiny-model-tiny_engine-max_size_image]"]
    page = next((pytester.path / "run").glob("cases/*.html")).read_text()
    assert "the largest image of the encoder budget: 12 x 8" in page
    monkeypatch.setattr(
        "vlm_parity.session.engine_runner.run_capture", lambda *_: pytest.fail("no engine is needed")
    )
    assert list_failures(engine(*large, "--rejudge", "run", "--run", "again")) == list_failures(first)


def test_entry_points_share_an_engine_and_have_their_own_verdicts(
    engine: RunPytest, pytester: pytest.Pytester
) -> None:
    entry_points = (
        "--entry-point",
        "text",
        "--entry-point",
        "chat",
        "--depth",
        "tokens",
        "--case",
        "two_images",
    )
    result = engine(*entry_points, "--engine-arg", "wrong id two_images by text=true")
    assert list_failures(result) == ["test_input_ids[tiny-model-tiny_engine-text-two_images]"]
    assert count_loads(pytester)["tiny-model-tiny_engine"] == 1
    run = load_run(pytester.path / "run")
    verdicts = {entry.verdict.entry_point: entry.verdict for entry in run.verdicts}
    assert {entry_point: str(verdict.kind) for entry_point, verdict in verdicts.items()} == {
        "chat": "match", "text": "mismatch",
    }  # fmt: skip
    assert "--entry-point text --case two_images" in verdicts[EntryPoint.TEXT].reproduce
    assert "--entry-point" not in verdicts[EntryPoint.CHAT].reproduce


def test_missing_entry_point_is_unsupported(engine: RunPytest, pytester: pytest.Pytester) -> None:
    entry_points = ("--entry-point", "token_ids", "--entry-point", "chat")
    result = engine("--backend", "vllm", *entry_points, "--case", "text_only", "-k", "tiny_engine")
    assert result.ret == pytest.ExitCode.OK
    kinds = {
        entry.verdict.entry_point: entry.verdict.kind for entry in load_run(pytester.path / "run").verdicts
    }
    assert kinds == {"chat": VerdictKind.MATCH, "token_ids": VerdictKind.UNSUPPORTED}


def test_missing_mode_is_unsupported(
    engine: RunPytest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlm_parity.pytest_plugin.setup_options.list_modes", lambda _: ["upside_down"])
    result = engine("--mode", "upside_down", "--case", "text_only", "--shard", "p")
    assert result.ret == pytest.ExitCode.TESTS_FAILED  # it compared nothing
    (entry,) = load_run(pytester.path / "run").verdicts
    assert (entry.verdict.kind, entry.verdict.mode) == (VerdictKind.UNSUPPORTED, "upside_down")
    assert entry.verdict.reason == (
        "tiny_engine has no mode upside_down in vlm-parity; its modes: default, prefix_cached, picky"
    )
    assert (
        "loading"
        not in (
            pytester.path / "run" / "shards" / "p" / "logs" / "tiny-model-tiny_engine-upside_down.log"
        ).read_text()
    )


def test_reproduce_command_has_options_that_are_not_default(
    engine: RunPytest, pytester: pytest.Pytester
) -> None:
    engine("--dtype", "bfloat16", "--engine-arg", "a=[1, 2]", "--case", "text_only")
    (entry,) = load_run(pytester.path / "run").verdicts
    assert entry.verdict.reproduce == (
        "parity run --depth logits --dtype bfloat16 --engine-arg 'a=[1, 2]' "
        f"--backend tiny_engine --model '{pytester.path / 'tiny model'}' --case text_only"
    )
    assert entry.verdict.tested.environment.dtype == "bfloat16"
    assert entry.verdict.tested.environment.settings == {"orders": "{'a': [1, 2]}"}
    assert entry.verdict.reference.environment.dtype == "float32"
