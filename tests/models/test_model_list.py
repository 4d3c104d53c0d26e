"""The model list: valid entries, errors for invalid ones, and the shipped list."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from vlm_parity.backends.base import Settings
from vlm_parity.cli.models import print_models
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.model_list import ListedModel, read_model_list
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.session.plan import Plan
from vlm_parity.util.errors import ModelListError

SHIPPED = Path(__file__).parents[2] / "cases" / "models.toml"
COMMIT = "0123456789" * 4
ENTRY = """
[[model]]
name = "tiny"
hub_id = "org/tiny"
revision = "main"
family = "qwen2_vl"
memory_gib = 10
dtype = "bfloat16"
"""
RELEASED = {
    *("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen2_5_omni", "qwen3_omni_moe", "internvl"),
    *("gemma3", "gemma4", "llava", "llava_next", "llava_onevision", "glm4v", "mistral3", "pixtral"),
    *("idefics3", "smolvlm", "paligemma", "minicpmv4_6", "kimi_k25", "deepseek_vl"),
}
"""Families with released checkpoints in the nightly run."""


def write_list(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "models.toml"
    path.write_text(text)
    return path


def read_error(path: Path) -> str:
    with pytest.raises(ModelListError) as caught:
        read_model_list(path)
    return str(caught.value).replace(f"{path}", "FILE")


# Entries


def test_entry_has_defaults(tmp_path: Path) -> None:
    (entry,) = read_model_list(write_list(tmp_path, ENTRY)).values()
    assert (entry.name, entry.tensor_parallel_size, entry.trust_remote_code) == ("tiny", 1, False)
    assert not entry.pinned


def test_commit_pins(tmp_path: Path) -> None:
    (entry,) = read_model_list(write_list(tmp_path, ENTRY.replace("main", COMMIT))).values()
    assert entry.pinned


@pytest.mark.parametrize(
    ("line", "replacement", "message"),
    [
        ('revision = "main"', "", "entry tiny, revision: is missing"),
        (
            '"main"',
            '"v1.0"',
            "entry tiny, revision: is neither a commit of 40 hexadecimal digits nor ",
        ),
        ('"main"', f'"{COMMIT[1:]}"', "entry tiny, revision: is neither a commit of 40 hex"),
        ('"tiny"', '"qwen2_vl"', "entry qwen2_vl, name: is the name of a synthetic model"),
        ('"tiny"', '"all"', "entry all, name: is the name of a synthetic model"),
        ('"tiny"', '"a/b"', "entry a/b, name: may contain only a-z, 0-9, dots, dashes and u"),
        ('"org/tiny"', '"./tiny"', "entry tiny, hub_id: must match pattern"),
        ("= 10", "= 0", "entry tiny, memory_gib: must be greater than 0"),
        ('"bfloat16"', '"int8"', "entry tiny, dtype: must be 'float32', 'bfloat16' or 'float16'"),
        ("= 10", "= 10\ngpus = 2", "entry tiny, gpus: no such key here"),
        ('name = "tiny"', "", "entry 1, name: is missing"),
    ],
)
def test_error_names_the_entry_and_the_field(
    tmp_path: Path, line: str, replacement: str, message: str
) -> None:
    assert line in ENTRY
    error = read_error(write_list(tmp_path, ENTRY.replace(line, replacement)))
    assert re.match(rf"FILE:\d+: {re.escape(message)}", error)


def test_duplicate_names_are_an_error(tmp_path: Path) -> None:
    assert (
        read_error(write_list(tmp_path, ENTRY * 2))
        == "FILE:11: entry tiny, name: is also the name of entry 1"
    )


def test_unreadable_file_is_an_error(tmp_path: Path) -> None:
    assert "Expected" in read_error(write_list(tmp_path, "[[model"))
    assert "no such file" in read_error(tmp_path / "missing.toml")


# Settings from an entry


def entry(**changes: object) -> ListedModel:
    given = {"name": "tiny", "hub_id": "org/tiny", "revision": "main", "family": "qwen2_vl"}
    return ListedModel.model_validate({**given, "memory_gib": 10, "dtype": "bfloat16", **changes})


def plan(model_list: ListedModel, depth: Depth = Depth.LOGITS, **changes: object) -> Plan:
    settings = Settings(device="cuda", depth=depth, engine_args={"seed": 1})
    given = {
        "settings": settings,
        "dtype": None,
        "reference_dtype": None,
        "model_list": {model_list.name: model_list},
    }
    return Plan(**{**given, "folder": Path("run"), "command": "", "reproduce": "", **changes})  # type: ignore[arg-type]


TINY = Checkpoint("tiny", "qwen2_vl", Path("tiny"), "org/tiny@abc", "digest")


def test_dtype_of_the_entry_is_a_default() -> None:
    assert plan(entry()).build_settings(TINY).dtype == "bfloat16"
    assert plan(entry(), dtype="float16").build_settings(TINY).dtype == "float16"


@pytest.mark.parametrize(
    ("backend", "engine_args"),
    [("vllm", {"tensor_parallel_size": 2}), ("lmdeploy", {"tp": 2}), ("transformers", {})],
)
def test_tensor_parallel_size_has_the_name_of_each_engine(backend: str, engine_args: dict[str, int]) -> None:
    shared = plan(entry(tensor_parallel_size=2))
    assert shared.build_engine_args(TINY, backend) == {**engine_args, "seed": 1}


def test_engine_args_of_the_user_override_the_entry() -> None:
    settings = Settings(device="cuda", engine_args={"tp": 4})
    overridden = plan(entry(tensor_parallel_size=2), settings=settings)
    assert overridden.build_engine_args(TINY, "lmdeploy") == {"tp": 4}


def test_depth_tokens_needs_no_tensor_parallelism() -> None:
    shared = plan(entry(tensor_parallel_size=2), depth=Depth.TOKENS)
    assert shared.build_engine_args(TINY, "vllm") == {"seed": 1}


# The shipped list


def test_shipped_list_covers_every_released_family() -> None:
    families = {entry.family for entry in read_model_list(SHIPPED).values()}
    assert families == RELEASED


def test_table_warns_of_unpinned_entries() -> None:
    output = io.StringIO()
    print_models([entry(), entry(name="other", revision=COMMIT)], Console(file=output, width=120))
    tiny, other = (line for line in output.getvalue().splitlines() if "org/tiny" in line)
    assert "NOT PINNED" in tiny
    assert COMMIT[:12] in other
    assert "1 of 2 are NOT PINNED to a commit" in output.getvalue()


def test_table_has_no_warning_if_all_entries_are_pinned() -> None:
    output = io.StringIO()
    print_models([entry(revision=COMMIT)], Console(file=output, width=120))
    assert "NOT PINNED" not in output.getvalue()
