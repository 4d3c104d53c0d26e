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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "model: qwen2_vl\n", "9:1: the key model is already in line 4"),
        (GOOD + "name: x\n", "9: name: no such key here: the file names the replay"),
        (GOOD.replace("one_image", "../../one_image"), "5: case: must match pattern"),
        (GOOD.replace("one_image", "{folder: /, messages: []}"), "5: case.folder: no such key here"),
        (GOOD.replace("one_image", "{messages: [hi]}"), "5: case.messages[0]: must be a mapping"),
        (
            GOOD.replace("one_image", "3"),
            "5: case: must be text, but 3 is read as a number: put it in quotes",
        ),
        (GOOD.replace("0.29.0", "0.29"), "8:12: the key 0.29 is read as a number: put it in quotes"),
        (GOOD + "pins: {transformers: &a x}\n", "9:22: the anchor &a is not supported"),
        (GOOD.replace("one_image", "[" * 9999), "5:38: more than 32 lists and mappings within each other"),
        ("[]\n", "1: the file is a list: it must be a mapping with title, upstream, backend"),
    ],
    ids=lambda value: value[-40:],
)
def test_hostile_file_is_located(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ReplayError) as caught:
        load_replay(path)
    assert str(caught.value).startswith(f"{path}:{message}")


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="holds no replay"):
        load_replays(tmp_path)
