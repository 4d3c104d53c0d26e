"""Wrong use of every command: a sentence and the exit code for it, before anything is built or written."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from tests.support.command_line import run_command
from tests.support.wrong_command_lines import WRONG_COMMAND_LINES, split_words
from vlm_parity.backends import installation
from vlm_parity.check import command, interpreters
from vlm_parity.releases import checkpoint, query
from vlm_parity.util.errors import PackageIndexError
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, USAGE

SOURCE = Path(__file__).parents[2] / "cases"
PUBLISHED = {
    "lmdeploy": ["0.7.3", "0.8.0", "0.10.2", "0.11.0"],
    "vllm": ["0.30.0", "0.31.0"],
    "transformers": ["5.3.0", "5.6.2", "5.16.1", "5.19.0"],
}

REPLAYED = """\
title: A case that does not exist.
upstream: [https://example.org/issues/1]
backend: lmdeploy
model: qwen2_vl
case: nope
stage: input_ids
cause: BOS token doubled
releases: {0.7.3: buggy, 0.8.0: fixed}
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with some cases, and with files and folders that no option accepts."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "cases" / "conversations").mkdir(parents=True)
    for name in ("test_input.py", "test_fuzz.py", "models.toml", "known_issues.toml"):
        shutil.copy(SOURCE / name, folder / "cases")
    for name in ("text_only", "one_image", "one_audio", "two_images"):
        shutil.copy(SOURCE / "conversations" / f"{name}.yaml", folder / "cases" / "conversations")
    for name in ("empty", "a_run/shards/vllm", "older/parts/vllm", "model", "broken", "cases/replays"):
        (folder / name).mkdir(parents=True)
    (folder / "model" / "config.json").write_text('{"model_type": "qwen2_vl"}')
    (folder / "other" / "replays").mkdir(parents=True)
    (folder / "other" / "replays" / "no_case.yaml").write_text(REPLAYED)
    shutil.copy(SOURCE / "replays" / "lmdeploy_image_slots.yaml", folder / "cases" / "replays")
    (folder / "file.txt").write_text("text")
    (folder / "broken.toml").write_text("[[issue\n")
    (folder / "latin.toml").write_bytes(b"\xff\xfe")
    (folder / "broken" / "broken.yaml").write_text("summary: [\n")
    (folder / "reports" / "20260101-000000").mkdir(parents=True)
    (folder / "reports" / "latest").symlink_to("20260101-000000")
    return folder


@pytest.fixture(autouse=True)
def _newcomer(clone: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in the clone, without an engine; nothing can be built, and the package index is a table."""
    assert not cache.exists()
    monkeypatch.chdir(clone)
    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    monkeypatch.setattr(command, "find_interpreter", lambda name: interpreters.find_interpreter(name, clone))
    for module in (checkpoint, query):
        monkeypatch.setattr(module, "build_environment", lambda *_: pytest.fail("builds an environment"))

    def list_published(distribution: str, **_: object) -> list[str]:
        if distribution not in PUBLISHED:
            problem = f"pip cannot list releases of {distribution}: No matching distribution found"
            raise PackageIndexError(problem)
        return PUBLISHED[distribution]

    for name in ("package_index", "arguments"):
        monkeypatch.setattr(f"vlm_parity.releases.{name}.list_published_releases", list_published)


def list_files(folder: Path) -> set[tuple[Path, bool]]:
    return {(path, path.is_symlink()) for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize(
    ("line", "message"), WRONG_COMMAND_LINES, ids=[line or "nothing" for line, _ in WRONG_COMMAND_LINES]
)
def test_wrong_use_is_a_usage_error(
    line: str, message: str, clone: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = list_files(clone)
    words = split_words(line)
    code = run_command(*words)
    captured = capfd.readouterr()
    assert message in captured.err
    assert code == USAGE
    assert "Traceback" not in captured.err
    assert captured.out == ""  # neither pytest's header nor INTERNALERROR
    (sentence,) = [text for text in captured.err.splitlines() if text.startswith("parity")]
    assert sentence.startswith(("parity: error: ", f"parity {' '.join(words[:1])}: error: "))
    assert list_files(clone) == before
    assert not cache.exists()
    assert (clone / "reports" / "latest").resolve().name == "20260101-000000"


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--backend", "vllm", "--model", "two\nlines \x1b[31m"],
        ["run", "--backend", "vllm", "--model", "x" * 5000],
        ["run", "--backend", "vllm", "--case", "x" * 5000],
        ["run", "--backend", "vllm", "--run", "x" * 5000],
        ["run", "--backend", "vllm", "--shard", "x" * 300],
        ["run", "--backend", "vllm", "--rejudge", "x" * 5000],
        ["run", "--backend", "vllm", "--cases", "a\nb"],
        ["run", "x" * 5000],
        ["check", "x" * 5000],
        ["check", "two\nlines"],
        ["check", "null\0"],
        ["report", "x" * 5000],
        ["report", "x" * 5000, "--require-shard", "vllm"],
        ["compare", "x" * 5000, "a_run"],
        ["gate", "a_run", "--baseline", "a\nb"],
        ["gate", "a_run", "--baseline", "a_run", "--junit", "x" * 5000],
        ["cases", "x" * 5000],
        ["cases", "null\0"],
        ["promote", "x" * 5000],
        ["promote", "cases/conversations/text_only.yaml", "--name", "y" * 300],
        ["models", "--model-list", "x" * 5000],
        ["replay", "--suite", "x" * 5000],
        ["selfcheck", "--run", "x" * 5000],
        ["selfcheck", "--markdown", "x" * 5000],
    ],
)
def test_strange_texts_are_usage_errors(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(*words) == USAGE
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err
    assert "\x1b" not in captured.err
    assert len(captured.err) < 8000


@pytest.mark.parametrize(
    "line",
    [
        "run",
        "run --backend vllm",
        "run --backend lmdeploy --model qwen2_vl --case text_only",
        "run --backend vllm --depth tokens --model model",
        "run --backend transformers",
        "run --backend vllm --fuzz",
        "selfcheck",
        "selfcheck --quick --backend vllm",
    ],
)
def test_missing_engine_is_named_before_anything_starts(
    line: str, clone: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = list_files(clone)
    assert run_command(*shlex.split(line)) == NOT_COMPARED
    captured = capfd.readouterr()
    assert captured.err.startswith(f"parity {line.partition(' ')[0]}: error: ")
    assert "installed in this environment" in captured.err
    assert captured.out == ""
    assert list_files(clone) == before
    assert not cache.exists()


@pytest.mark.parametrize(
    "line", ["check qwen2_vl --suite cases", "check qwen2_vl --suite cases --backend vllm"]
)
def test_missing_engine_ends_a_check_with_the_same_exit_code(
    line: str, clone: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = list_files(clone)
    assert run_command(*shlex.split(line)) == NOT_COMPARED
    assert "vllm is not installed here: run `pip install vllm`" in capfd.readouterr().out
    assert list_files(clone) == before


@pytest.mark.parametrize(
    "line",
    [
        "report nope --require-shard vllm",
        "report empty --require-shard vllm --require-shard vllm",
        "selfcheck --report-only --run nope --require-shard vllm",
    ],
)
def test_run_without_a_required_shard_fails_and_writes_nothing(
    line: str, clone: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = list_files(clone)
    assert run_command(*shlex.split(line)) == FAILED
    assert capfd.readouterr().out.count("vllm is missing") == 1
    assert list_files(clone) == before


def test_case_file_that_does_not_fit_is_the_result_of_the_check(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command("cases", "broken") == FAILED
    assert "broken/broken.yaml" in capfd.readouterr().err
