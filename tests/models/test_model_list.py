"""The model list: what an entry may say, what is told of one that does not fit, and the list we ship."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from vlm_parity.backends.base import Settings
from vlm_parity.cli.model_table import print_models
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.model_list import ListedModel, read_model_list
from vlm_parity.schema.trace import Depth
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
"""The families whose released checkpoints the nightly run is for."""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "models.toml"
    path.write_text(text)
    return path


def told(path: Path) -> str:
    with pytest.raises(ModelListError) as caught:
        read_model_list(path)
    return str(caught.value).replace(f"{path}", "FILE")


# What an entry says


def test_an_entry_with_what_is_left_out(tmp_path: Path) -> None:
    (entry,) = read_model_list(written(tmp_path, ENTRY)).values()
    assert (entry.name, entry.tensor_parallel_size, entry.trust_remote_code) == ("tiny", 1, False)
    assert not entry.pinned


def test_a_commit_pins(tmp_path: Path) -> None:
    (entry,) = read_model_list(written(tmp_path, ENTRY.replace("main", COMMIT))).values()
    assert entry.pinned


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        ('revision = "main"', "", "entry tiny, revision: Field required"),
        (
            '"main"',
            '"v1.0"',
            "entry tiny, revision: Value error, is no commit of 40 hexadecimal digits, nor ",
        ),
        ('"main"', f'"{COMMIT[1:]}"', "entry tiny, revision: Value error, is no commit of 40 hexadecimal"),
        ('"tiny"', '"qwen2_vl"', "entry qwen2_vl, name: Value error, is the name of a synthetic model"),
        ('"tiny"', '"all"', "entry all, name: Value error, is the name of a synthetic model"),
        ('"tiny"', '"a/b"', "entry a/b, name: Value error, has to be of a-z, 0-9, dots, dashes and unders"),
        ('"org/tiny"', '"./tiny"', "entry tiny, hub_id: String should match pattern"),
        ("= 10", "= 0", "entry tiny, memory_gib: Input should be greater than 0"),
        ('"bfloat16"', '"int8"', "entry tiny, dtype: Input should be 'float32', 'bfloat16' or 'float16'"),
        ("= 10", "= 10\ngpus = 2", "entry tiny, gpus: Extra inputs are not permitted"),
        ('name = "tiny"', "", "entry 1, name: Field required"),
    ],
)
def test_an_entry_that_does_not_fit_is_named_with_its_field(
    tmp_path: Path, line: str, instead: str, message: str
) -> None:
    assert line in ENTRY
    assert told(written(tmp_path, ENTRY.replace(line, instead))).startswith(f"FILE: {message}")


def test_two_entries_of_one_name(tmp_path: Path) -> None:
    assert told(written(tmp_path, ENTRY * 2)) == "FILE: two entries are named tiny"


def test_a_file_that_is_none(tmp_path: Path) -> None:
    assert "Expected" in told(written(tmp_path, "[[model"))
    assert "No such file" in told(tmp_path / "missing.toml")


# What is made of it


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


def test_the_dtype_is_the_entrys_unless_another_is_asked_for() -> None:
    assert plan(entry()).build_settings(TINY).dtype == "bfloat16"
    assert plan(entry(), dtype="float16").build_settings(TINY).dtype == "float16"


@pytest.mark.parametrize(
    ("backend", "told"),
    [("vllm", {"tensor_parallel_size": 2}), ("lmdeploy", {"tp": 2}), ("transformers", {})],
)
def test_gpus_are_told_under_the_engines_own_name(backend: str, told: dict[str, int]) -> None:
    shared = plan(entry(tensor_parallel_size=2))
    assert shared.build_engine_args(TINY, backend) == {**told, "seed": 1}


def test_what_the_user_tells_an_engine_goes_before_the_entry() -> None:
    settings = Settings(device="cuda", engine_args={"tp": 4})
    given = plan(entry(tensor_parallel_size=2), settings=settings)
    assert given.build_engine_args(TINY, "lmdeploy") == {"tp": 4}


def test_nothing_is_shared_where_no_engine_runs() -> None:
    shared = plan(entry(tensor_parallel_size=2), depth=Depth.TOKENS)
    assert shared.build_engine_args(TINY, "vllm") == {"seed": 1}


# The list that is shipped


def test_every_released_family_is_listed() -> None:
    families = {entry.family for entry in read_model_list(SHIPPED).values()}
    assert families == RELEASED


def test_what_is_not_pinned_is_told_loudly() -> None:
    output = io.StringIO()
    print_models([entry(), entry(name="other", revision=COMMIT)], Console(file=output, width=120))
    tiny, other = (line for line in output.getvalue().splitlines() if "org/tiny" in line)
    assert "NOT PINNED" in tiny
    assert COMMIT[:12] in other
    assert "1 of 2 are NOT PINNED to a commit" in output.getvalue()


def test_a_list_that_is_all_pinned_is_not_warned_of() -> None:
    output = io.StringIO()
    print_models([entry(revision=COMMIT)], Console(file=output, width=120))
    assert "NOT PINNED" not in output.getvalue()
