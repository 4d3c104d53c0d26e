"""Usage errors of a session, reported without a traceback."""

from __future__ import annotations

import io
from pathlib import Path

import PIL.Image
import pytest

from tests.support.plugin_sessions import RunPytest
from vlm_parity.schema.shard_folder import create_shard

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--backend", "vlm"),
            "*--parity-backend vlm: no such backend; did you mean vllm? there are: *transformers, vllm",
        ),
        (
            ("--backend", "vllm", "--case", "three*"),
            "*--parity-case three[*]: matches none of the cases; there are: one_video, text_only, *",
        ),
        (("--backend", "vllm", "--cases", "."), "*: no cases (*.yaml)"),
        (("--backend", "vllm", "--depth", "deep"), "*invalid choice: 'deep'*"),
        (
            ("--backend", "vllm", "--mode", "chopped"),
            "*--parity-mode chopped: not available; vllm at --parity-depth logits has: default, batched, *",
        ),
        (
            ("--backend", "vllm", "--mode", "prefix_cached", "--depth", "tokens"),
            "*--parity-mode prefix_cached: not available; vllm at --parity-depth tokens has: default",
        ),
        (
            ("--backend", "vllm", "--model", "qwen2"),
            "*--parity-model: 'qwen2' is no family (qwen2_vl, *no existing folder, *",
        ),
        (
            ("--backend", "vllm", "--load-timeout", "nan"),
            "*error: argument --parity-load-timeout: 'nan' is not *",
        ),
        (
            ("--backend", "vllm", "--case-timeout", "0"),
            "*error: argument --parity-case-timeout: '0' is not *",
        ),
        (
            ("--backend", "vllm", "--fuzz-examples", "0"),
            "*error: argument --parity-fuzz-examples: '0' is not *",
        ),
        (("--backend", "vllm", "--run", ""), "*error: argument --parity-run: '' is not a path"),
        (
            ("--backend", "vllm", "--run", "cases/test_input.py/x"),
            "*test_input.py is a file, not a folder: *",
        ),
        (("--backend", "vllm", "--cases", "gone"), "*--parity-cases gone: no such folder"),
        (
            ("--backend", "vllm", "--known-issues", "x", "--no-known-issues"),
            "*--parity-known-issues and --parity-no-known-issues exclude each other",
        ),
        (
            ("--backend", "vllm", "--rejudge", ".", "--reference-traces", "."),
            "*--parity-rejudge and --parity-reference-traces exclude each other",
        ),
        (("--backend", "vllm", "--rejudge", "cases"), "*--parity-rejudge cases: holds no traces *"),
        (("--backend", "vllm", "--rejudge", "gone"), "*--parity-rejudge gone: no such folder"),
        (("--backend", "vllm", "--media-root", "gone"), "*--parity-media-root gone: no such folder"),
        (
            ("--backend", "vllm", "--reference-traces", "gone"),
            "*--parity-reference-traces gone: no such folder",
        ),
        (
            ("--backend", "vllm", "--shard", "../../x"),
            "*shard '../../x': a shard's name is letters, digits, *",
        ),
        (("--backend", "vllm", "--shard", "."), "*shard '.': a shard's name is letters, digits, *"),
        (("--backend", "vllm", "--shard", "/x/y"), "*shard '/x/y': a shard's name is letters, *"),
        (
            ("--backend", "vllm", "--engine-arg", "eager"),
            "*error: argument --parity-engine-arg: 'eager' must be NAME=VALUE",
        ),
    ],
)
def test_usage_error_names_option_and_values(
    parity: RunPytest, arguments: tuple[str, ...], message: str
) -> None:
    result = parity(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "Traceback" not in result.stderr.str() + result.stdout.str()


def test_a_session_without_comparisons_leaves_an_older_shard_alone(
    parity: RunPytest, pytester: pytest.Pytester
) -> None:
    (pytester.path / "run" / "shards" / "old").mkdir(parents=True)
    result = parity("--backend", "vllm", "--shard", "old", "--collect-only")
    assert result.ret == pytest.ExitCode.OK
    assert not (pytester.path / "run" / "index.html").exists()


def test_missing_engine_error_suggests_remedies(parity: RunPytest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm_parity.backends.installation.find_spec", lambda _: None)
    result = parity()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no serving engine is installed in this environment: install one, *"])


def test_invalid_case_file_error_has_line_number(parity: RunPytest, pytester: pytest.Pytester) -> None:
    path = pytester.path / "cases" / "conversations" / "bad.yaml"
    path.write_text("summary: s\nmessages:\n- role: robot\n  content: Hi\n")
    result = parity("--backend", "vllm")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{path}:3: messages[[]0].role: *"])


def write_photo_case(folder: Path, source: str) -> None:
    text = f"summary: s\nmessages:\n- role: user\n  content:\n  - image: {source}\n"
    (folder / "cases" / "conversations" / "photo.yaml").write_text(text)


def test_media_outside_of_the_cases_need_a_root(parity: RunPytest, pytester: pytest.Pytester) -> None:
    (pytester.path / "photos").mkdir()
    PIL.Image.new("RGB", (8, 8)).save(pytester.path / "photos" / "a.png")
    write_photo_case(pytester.path, "{file: ../../photos/a.png}")
    arguments = ("--backend", "vllm", "--case", "photo", "--collect-only")
    result = parity(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*photo.yaml:5: *.image.file: */photos/a.png lies outside of *--media-root*"]
    )
    assert parity(*arguments, "--media-root", "photos").ret == pytest.ExitCode.OK


def test_broken_medium_is_a_usage_error_and_costs_nothing(
    parity: RunPytest, pytester: pytest.Pytester
) -> None:
    file = io.BytesIO()
    PIL.Image.effect_noise((64, 64), 50).save(file, "JPEG")
    (pytester.path / "cases" / "conversations" / "a.png").write_bytes(file.getvalue()[:-500])
    write_photo_case(pytester.path, "{file: a.png}")
    shard = pytester.path / "run" / "shards" / "old"
    with create_shard(shard):
        (shard / "verdict.json").touch()
    result = parity("--backend", "transformers", "--case", "photo", "--shard", "old", "--model", "qwen2_vl")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    output = result.stdout.str() + result.stderr.str()
    assert "case photo, image 0 (" in output
    assert "a.png): broken image: OSError: " in output
    assert "Traceback" not in output
    assert (shard / "verdict.json").exists()
