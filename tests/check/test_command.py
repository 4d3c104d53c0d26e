"""``parity check`` as a command: pytest runs in a process of its own, on the tiny engine as both sides."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

from vlm_parity.backends import installation
from vlm_parity.check import command, interpreters
from vlm_parity.cli.main import main
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED, USAGE

CASES = Path(__file__).parents[2] / "cases"
CONFTEST = """
from vlm_parity.session import references
from vlm_parity.report import contradictions
references.REFERENCE_BACKEND = "tiny_engine"
contradictions.REFERENCES = {"tiny_engine"}
"""
MODULE = """
import pytest

@pytest.mark.parity_tokens
@pytest.mark.parametrize("stage", ["prompt", "input_ids", "spans"])
def test_stage(parity_comparison, stage): parity_comparison.check(stage)
"""
LISTED = """
[[model]]
name = "tiny"
hub_id = "org/tiny"
revision = "main"
family = "tiny"
memory_gib = 1
dtype = "float32"
"""
Check = Callable[..., int]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a checkpoint without weights."""
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    return folder


@pytest.fixture
def check(
    tmp_path: Path, cache: Path, tiny_engine: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> Check:
    """``parity check`` on the tiny engine with two cases; no media cache is shared between tests."""
    assert not cache.exists()
    folder = tmp_path / "cases"
    (folder / "conversations").mkdir(parents=True)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_stages.py").write_text(MODULE)
    for name in ("text_only", "two_images"):
        shutil.copy(CASES / "conversations" / f"{name}.yaml", folder / "conversations")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, spec: str = str(model), backend: str = tiny_engine) -> int:
        named = ("--suite", str(folder), "--run", str(tmp_path / "run"))
        return main(["check", spec, "--backend", backend, *named, *arguments])

    return run


# Comparisons


def test_equal_inputs_pass(check: Check, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert check() == PASSED
    output = capfd.readouterr().out
    assert "[my-model tiny_engine] 2/2 two_images: match" in output
    assert re.search(r"input_ids +│ 2 match", output)
    assert "None of 2 comparisons differs. It passes.\n" in output
    assert output.splitlines()[-1] == str(tmp_path / "run" / "index.html")
    assert (tmp_path / "run" / "index.html").is_file()


def test_difference_fails(check: Check, capfd: pytest.CaptureFixture[str]) -> None:
    assert check("--engine-arg", "wrong id two_images=1") == FAILED
    output = capfd.readouterr().out
    assert "1 of 2 comparisons differs; first at " in output
    assert "It does not pass: something differs.\n" in output


def test_engine_error_is_reported_and_is_not_a_difference(
    check: Check, capfd: pytest.CaptureFixture[str]
) -> None:
    assert check("--engine-arg", "load=raise") == NOT_COMPARED
    output = capfd.readouterr().out
    assert "tiny_engine: 2 error: " in output
    assert "(text_only, two_images)\n" in output
    assert "It does not pass: something could not be compared.\n" in output


def test_cases_are_selected_by_pattern(check: Check, capfd: pytest.CaptureFixture[str]) -> None:
    assert check("--case", "text*") == PASSED
    assert "None of 1 comparisons differs." in capfd.readouterr().out


def test_media_of_cases_may_lie_in_a_root(
    check: Check, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    content = f"[{{image: {{file: {tmp_path / 'photo.png'}}}}}]"
    case = f"summary: s\nmessages:\n- {{role: user, content: {content}}}\n"
    (tmp_path / "cases" / "conversations" / "photo.yaml").write_text(case)
    assert check("--case", "photo") == USAGE
    assert "photo.png lies outside of the case's folder; --media-root DIR permits" in capfd.readouterr().err
    assert check("--case", "photo", "--media-root", str(tmp_path)) == PASSED


def test_folders_are_checked_before_an_engine_runs(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_run_backend", lambda *_: pytest.fail("no engine runs"))
    (tmp_path / "file").touch()
    assert check("--run", str(tmp_path / "file")) == USAGE
    assert (
        f"--run {tmp_path / 'file'}: {tmp_path / 'file'} is a file, not a folder: " in capfd.readouterr().err
    )
    monkeypatch.setenv("VLM_PARITY_CACHE", str(tmp_path / "file"))
    assert check() == USAGE
    assert f"{tmp_path / 'file'}: the cache cannot be written" in capfd.readouterr().err


# Cases and engines that could not be compared


def test_missing_file_is_reported_before_anything_runs(
    check: Check, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (model / "preprocessor_config.json").unlink()
    assert check() == NOT_COMPARED
    assert capfd.readouterr().out.startswith(f"{model}: no processor in it, which is needed for the media ")
    assert not (tmp_path / "run").exists()


def test_only_depth_logits_needs_weights(check: Check, capfd: pytest.CaptureFixture[str]) -> None:
    assert check("--depth", "logits") == NOT_COMPARED
    assert "no weights in it, which is needed for the depth logits" in capfd.readouterr().out


def test_model_missing_on_hub_is_reported_with_reason(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert check(spec="org/no-such-model") == NOT_COMPARED
    output = capfd.readouterr().out
    message = "Shard tiny_engine is incomplete: 0 of 2 expected verdicts; org--no-such-model tiny_engine: "
    assert f"{message}org/no-such-model: no such folder here" in output
    assert "Nothing was compared. It does not pass: something could not be compared.\n" in output


def test_missing_engine_is_reported_with_remedy(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(installation, "find_spec", lambda name: None if name == "vllm" else find_spec(name))
    monkeypatch.setattr(
        command, "find_interpreter", lambda name: interpreters.find_interpreter(name, tmp_path)
    )
    assert check("--backend", "vllm") == NOT_COMPARED
    output = capfd.readouterr().out
    assert "vllm is not installed here: run `pip install vllm` in this environment\n" in output
    assert "None of 2 comparisons differs. It does not pass: something could not be compared.\n" in output


# Usage errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "vlm"}, "--backend vlm: no such backend; did you mean vllm? there are: "),
        ({"spec": "./no-such-folder"}, "MODEL: './no-such-folder' is no family (qwen2_vl, "),
        ({"spec": "small"}, "MODEL: 'small' is no family (qwen2_vl, "),
    ],
)
def test_usage_errors(
    check: Check, arguments: dict[str, str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert check(**arguments) == USAGE
    assert capfd.readouterr().err.startswith(f"parity check: error: {message}")


def test_unknown_case_is_usage_error(check: Check, capfd: pytest.CaptureFixture[str]) -> None:
    assert check("--case", "three*") == USAGE
    assert (
        "--case three*: matches none of the cases; there are: text_only, two_images" in capfd.readouterr().err
    )


def test_missing_suite_is_usage_error(
    check: Check, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert check("--suite", str(tmp_path / "other")) == USAGE
    assert "/other: no such folder\n" in capfd.readouterr().err


def test_unreadable_model_list_is_usage_error(
    check: Check, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.toml").write_text("[[model]]\n")
    assert check("--model-list", str(tmp_path / "other.toml")) == USAGE
    assert "other.toml:1: entry 1, name: is missing" in capfd.readouterr().err


# The model list


def test_name_in_model_list_is_a_model(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cases" / "models.toml").write_text(LISTED)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert check(spec="tiny") == NOT_COMPARED
    assert "tiny tiny_engine: org/tiny@main: no such folder here" in capfd.readouterr().out


def test_help_explains_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["check", "--help"])
    output = capsys.readouterr().out
    for code in range(4):
        assert f"\n  {code}  " in output
