"""The expected report of the main job on the pinned releases of the engines."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vlm_parity.models.registry import DEFAULT_FAMILIES
from vlm_parity.pytest_plugin.target import supports
from vlm_parity.schema.case_file import load_cases

ROOT = Path(__file__).resolve().parent.parent
LATEST = ROOT / "reports" / "latest"
BACKENDS = ("vllm", "lmdeploy")
EXPECTED = {
    model: {
        name
        for name, case in load_cases(ROOT / "cases" / "conversations").items()
        if supports(model, case, {})
    }
    for model in DEFAULT_FAMILIES
}
CASES = EXPECTED["qwen2_vl"]
FILES = {name for name in CASES if name.endswith("_file") or name.startswith("mp4_")}
MAX_SIZE = {name for name in CASES if name.startswith("max_size_")}
FRAMES = {name for name in CASES - FILES - MAX_SIZE if "video" in name or name == "odd_frames"}
MATCHING_FRAMES = {"video_and_image", "video_7_fps"}
LOADED_DIFFERENTLY = {"transparent_image", "rotated_image"}
TEXTS = {"text_only", "block_borders"}
NULLS = {"empty_contents", "tool_call_text"}
OTHER_TURNS = {"image_in_system", "image_in_answer"}
TEMPLATE = {"answer_last", "continued_answer", "no_generation_prompt", "own_template", "thinking_off"}
AGENTS = NULLS | OTHER_TURNS | TEMPLATE
AGENTS |= {
    "developer",
    "reasoning",
    "reasoning_content",
    "text_parts",
    "think_tags",
    "tool_call_alone",
    "tools",
}
PLAIN = CASES - FILES - FRAMES - MAX_SIZE - TEXTS - AGENTS - {"pixel_limit", "two_texts", "typed_image_token"}

REPORT: dict[str, Any] = json.loads((LATEST / "report.json").read_text(encoding="utf-8"))
VERDICTS = {(v["model"], v["backend"], v["case"]): v for v in REPORT["verdicts"]}


def kinds(model: str, backend: str, cases: set[str]) -> dict[str, tuple[str, str | None]]:
    found = {case: VERDICTS[model, backend, case] for case in cases}
    return {case: (v["verdict"], v["first_divergence"]) for case, v in found.items()}


def test_every_comparison_has_its_verdict() -> None:
    assert set(VERDICTS) == {(m, b, c) for m in DEFAULT_FAMILIES for b in BACKENDS for c in EXPECTED[m]}
    assert len(REPORT["verdicts"]) == len(VERDICTS)


def test_nothing_went_wrong() -> None:
    assert not [v for v in REPORT["verdicts"] if v["verdict"] in {"crash", "error", "invalid"}]


def test_it_passes_for_all_that_differs_is_known() -> None:
    assert REPORT["run"]["passes"]
    assert not [v for v in REPORT["verdicts"] if v["verdict"] in {"mismatch", "fixed"}]
    assert all(v["known"] for v in REPORT["verdicts"] if v["verdict"] == "known")


def test_every_known_issue_is_used() -> None:
    assert not [remark for remark in REPORT["run"]["remarks"] if "Known issue" in remark]


@pytest.mark.parametrize("model", DEFAULT_FAMILIES)
def test_vllm_matches_on_text_and_images(model: str) -> None:
    cases = (PLAIN | TEXTS | {"two_texts"}) - LOADED_DIFFERENTLY
    assert kinds(model, "vllm", cases) == dict.fromkeys(cases, ("match", None))


@pytest.mark.parametrize("model", DEFAULT_FAMILIES)
def test_images_that_transformers_loads_differently_are_known(model: str) -> None:
    found = kinds(model, "vllm", LOADED_DIFFERENTLY)
    assert found == dict.fromkeys(LOADED_DIFFERENTLY, ("known", "media"))


@pytest.mark.parametrize("model", DEFAULT_FAMILIES)
def test_lmdeploy_matches_on_text(model: str) -> None:
    assert kinds(model, "lmdeploy", TEXTS) == dict.fromkeys(TEXTS, ("match", None))


@pytest.mark.parametrize("model", ["qwen2_5_vl", "qwen3_vl"])
def test_lmdeploy_matches_on_images(model: str) -> None:
    assert kinds(model, "lmdeploy", PLAIN) == dict.fromkeys(PLAIN, ("match", None))


@pytest.mark.parametrize("model", DEFAULT_FAMILIES)
def test_text_parts_and_typed_placeholders_are_known(model: str) -> None:
    assert kinds(model, "lmdeploy", {"two_texts"}) == {"two_texts": ("known", "prompt")}
    assert kinds(model, "vllm", {"typed_image_token"}) == {"typed_image_token": ("known", None)}


def test_transformers_positions_of_text_after_a_video_are_known() -> None:
    found = kinds("qwen2_5_vl", "vllm", FRAMES)
    assert found == {
        case: ("match", None) if case in MATCHING_FRAMES else ("known", "positions") for case in FRAMES
    }
    assert kinds("qwen2_vl", "vllm", {"long_video"}) == {"long_video": ("known", "positions")}


def test_lmdeploy_differs_on_the_images_of_qwen2_vl() -> None:
    """Its vision MLP uses another activation."""
    assert kinds("qwen2_vl", "lmdeploy", PLAIN) == dict.fromkeys(PLAIN, ("known", "vision"))


@pytest.mark.parametrize("model", ["qwen2_vl", "qwen2_5_vl"])
def test_lmdeploy_does_not_support_video(model: str) -> None:
    assert kinds(model, "lmdeploy", FRAMES) == dict.fromkeys(FRAMES, ("unsupported", None))


@pytest.mark.parametrize("model", DEFAULT_FAMILIES)
def test_opaque_image_files_match(model: str) -> None:
    """In every format; each side decodes the files with its own loader."""
    opaque = {
        "bmp_file",
        "gif_file",
        "jpeg_file",
        "png_file",
        "tiff_file",
        "webp_file",
        "rounding_edges_file",
    }
    assert kinds(model, "vllm", opaque) == dict.fromkeys(opaque, ("match", None))


@pytest.mark.parametrize("model", DEFAULT_FAMILIES)
def test_vllm_reserves_what_its_largest_media_have(model: str) -> None:
    assert kinds(model, "vllm", MAX_SIZE) == dict.fromkeys(MAX_SIZE, ("match", None))
    assert kinds(model, "lmdeploy", MAX_SIZE) == dict.fromkeys(MAX_SIZE, ("unsupported", None))


@pytest.mark.parametrize("model", DEFAULT_FAMILIES)
def test_conversations_of_agents_in_vllm(model: str) -> None:
    expected = dict.fromkeys(AGENTS, ("match", None))
    expected |= dict.fromkeys(NULLS, ("known", None))  # transformers 5.19 refuses null
    expected |= dict.fromkeys({"developer", "tool_call_alone"}, ("known", "prompt"))
    if model == "qwen3_vl":  # its template drops these images
        expected |= dict.fromkeys(OTHER_TURNS, ("known", None))
    assert kinds(model, "vllm", AGENTS) == expected


@pytest.mark.parametrize("model", DEFAULT_FAMILIES)
def test_conversations_of_agents_in_lmdeploy(model: str) -> None:
    expected = dict.fromkeys(AGENTS, ("match", None)) | {"answer_last": ("known", "prompt")}
    expected |= dict.fromkeys({"no_generation_prompt", "own_template"}, ("unsupported", None))
    if model == "qwen3_vl":
        expected |= dict.fromkeys(OTHER_TURNS, ("unsupported", None))
    else:
        expected |= dict.fromkeys(OTHER_TURNS, ("known", None)) | {"thinking_off": ("known", "prompt")}
    if model == "qwen2_vl":
        expected["tools"] = ("known", "vision")
    assert kinds(model, "lmdeploy", AGENTS) == expected


@pytest.mark.parametrize("model", DEFAULT_FAMILIES)
def test_vllm_obeys_the_pixel_limit_of_a_request(model: str) -> None:
    assert kinds(model, "vllm", {"pixel_limit"}) == {"pixel_limit": ("match", None)}
    assert kinds(model, "lmdeploy", {"pixel_limit"}) == {"pixel_limit": ("known", "input_ids")}


@pytest.mark.parametrize("model", DEFAULT_FAMILIES)
def test_truncated_images_are_served_by_lmdeploy_alone(model: str) -> None:
    assert kinds(model, "vllm", {"jpeg_truncated_file"}) == {"jpeg_truncated_file": ("refused", None)}
    assert kinds(model, "lmdeploy", {"jpeg_truncated_file"}) == {"jpeg_truncated_file": ("known", None)}


def test_pages_are_there_and_need_no_network() -> None:
    pages = [LATEST / "index.html", *(LATEST / v["page"] for v in REPORT["verdicts"])]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", text)
