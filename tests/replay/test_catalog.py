"""The replay files of the catalog, and errors of invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_parity.diagnosis.registry import list_causes
from vlm_parity.replay.catalog import load_replay, load_replays
from vlm_parity.schema.case_file import load_case
from vlm_parity.util.errors import ReplayError

ROOT = Path(__file__).parents[2] / "cases"
WITH_A_FILE = "{messages: [{role: user, content: [{image: {file: a.png}}]}]}"
GOOD = """\
title: The image is moved.
upstream: [https://example.org/1]
backend: vllm
model: llava
case: one_image
stage: input_ids
cause: media reordered
releases: {0.29.0: buggy, 0.30.0: fixed}
"""


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "replays").glob("*.yaml")))
def test_what_is_stated_exists(name: str) -> None:
    replay = load_replays(ROOT / "replays")[name]
    assert replay.cause in list_causes()
    case = replay.resolve_case(ROOT / "conversations")
    assert case.digest()


def written(folder: Path, text: str) -> Path:
    path = folder / "moved.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_replay_is_named_after_its_file(tmp_path: Path) -> None:
    replay = load_replay(written(tmp_path, GOOD))
    assert replay.name == "moved"
    assert replay.releases == {"0.29.0": "buggy", "0.30.0": "fixed"}
    assert replay.resolve_case(ROOT / "conversations") == load_case(ROOT / "conversations" / "one_image.yaml")


def test_its_case_may_stand_in_it(tmp_path: Path) -> None:
    inside = "case: {messages: [{role: user, content: [{text: Hello}]}]}"
    replay = load_replay(written(tmp_path, GOOD.replace("case: one_image", inside)))
    case = replay.resolve_case(ROOT / "conversations")
    assert (case.name, case.depth) == ("moved", "tokens")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "case: one_image",
            "case: {messages: [{role: user, content: [{image: {file: a.png}}]}]}",
            "not files",
        ),
        ("0.29.0: buggy, ", "", "none of them is buggy"),
        (", 0.30.0: fixed", "", "the reason in `unfixed` why there is none"),
        ("0.29.0", "0.1.0", r"vllm 0\.1\.0: .* supports"),
        ("backend: vllm", "backend: vlm", "there are: lmdeploy, transformers, vllm"),
        ("stage: input_ids", "stage: ids", "stage"),
        ("https://example.org/1", "", "upstream"),
        ("cause", "values: {'ids[0:1]': {0.29.0: 1}}\ncause", "is none of"),
        ("cause", "values: {'input_ids[0:1]': {0.28.0: 1}}\ncause", "neither a release of the replay"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ReplayError, match=rf"moved\.yaml:\d+: .*{said}"):
        load_replay(path)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="holds no replay"):
        load_replays(tmp_path)
