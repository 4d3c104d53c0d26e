"""Engine loads of a session, collected without an engine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vlm_parity.pytest_plugin.load_collection import CollectedLoads, collect_loads
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.session.plan import EngineLoad
from vlm_parity.util.errors import UsageError

CASES = Path(__file__).parents[2] / "cases"
TOKENS = ("--parity-backend=vllm", "--parity-model=qwen2_vl", "--parity-depth=tokens", "-p", "no:xdist")


def collect(*words: str) -> CollectedLoads:
    return collect_loads([*TOKENS, *words])


def test_loads_are_counted_by_entry_point(capfd: pytest.CaptureFixture[str], cache: Path) -> None:
    cases = [f"--parity-case={name}" for name in ("text_only", "one_image", "one_audio")]
    collected = collect(str(CASES), *cases, "--parity-entry-point=chat", "--parity-entry-point=text")
    assert collected.cases == {  # the model has no audio
        EngineLoad("qwen2_vl", "vllm"): 2,
        EngineLoad("qwen2_vl", "vllm", entry_point=EntryPoint.TEXT): 2,
    }
    assert "qwen2-vl-2b" in collected.model_list
    assert capfd.readouterr() == ("", "")
    assert not cache.exists()


def test_the_options_of_pytest_select_loads(cache: Path) -> None:
    words = (str(CASES), "--parity-case=text_only", "--parity-case=one_image")
    assert collect(*words, "-k", "one_image").cases == {EngineLoad("qwen2_vl", "vllm"): 1}
    assert collect(*words, "-k", "nothing_like_it").cases == {}
    assert not cache.exists()


def test_test_modules_are_not_left_imported(cache: Path) -> None:
    path = list(sys.path)
    assert collect(str(CASES), "--parity-case=text_only", "--import-mode=prepend").cases
    assert sys.path == path
    assert "test_input" not in sys.modules
    assert not cache.exists()


def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import nothing_like_it\n")
    with pytest.raises(UsageError, match=r"test_broken\.py: .*nothing_like_it"):
        collect(str(tmp_path))
