"""The pages: all of the run is on them, none of its text is live, and nothing leads out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from vlm_parity.report.html import write_report
from vlm_parity.report.issue import build_issue
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.case import Case
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, VerdictKind

if TYPE_CHECKING:
    from tests.report.conftest import RunBuilder

HOSTILE = '<script>alert(1)</script>"><img src=x onerror="alert(2)">\u202e\'{{ 7*7 }}`'
BOXES = {"td", "th", "p", "li", "dt", "dd"}
NEVER_CAPTURED = {Stage.MEDIA, Stage.POSITIONS, Stage.VISION}
VOID = {"meta", "link", "img", "br", "col", "input"}
NO_SOURCE = "'none'"
SCRIPTS = {"index.html": 2, "cases": 1}
"""The scripts of a page, or of each page in a folder; the others have none."""


class Page(HTMLParser):
    """A page as a browser parses it: tags, text, and raw elements."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.data: list[str] = []
        self.raw: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: Any, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in BOXES:
            self.data.append(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: Any, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: Any) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: Any) -> None:
        if self.open and self.open[-1] in {"script", "style"}:
            self.raw.setdefault(self.open[-1], []).append(data)
        else:
            self.data.append(data)

    @property
    def text(self) -> Any:
        return " ".join("".join(self.data).split())

    def links(self) -> Any:
        return [attrs[name] for _, attrs in self.tags for name in ("href", "src") if name in attrs]


def read_table(folder: Path) -> dict[str, Any]:
    """Return the table of the index."""
    script = (folder / "data" / "verdicts.js").read_text(encoding="ascii")
    table: dict[str, Any] = json.loads(script.removeprefix("globalThis.verdictTable = ").removesuffix(";\n"))
    return table


def _pages(folder: Any) -> Any:
    write_report(load_run(folder))
    folders = ("cases", "models", "backends")
    files = [folder / "index.html", folder / "matrix.html"]
    files += [file for name in folders for file in sorted((folder / name).glob("*.html"))]
    return {file: Page(file.read_text(encoding="utf-8")) for file in files}


def _case_page(builder: RunBuilder, verdict: Any) -> Any:
    builder.shard(verdict)
    return _only_case_page(builder)


def _only_case_page(builder: RunBuilder) -> Any:
    (page,) = [page for file, page in _pages(builder.folder).items() if file.parent.name == "cases"]
    return page


@pytest.fixture
def pages(builder: RunBuilder) -> Any:
    return _pages(builder.sample())


def test_every_verdict_has_a_row_and_a_page(builder: RunBuilder, pages: Any) -> None:
    run = load_run(builder.folder)
    columns = read_table(builder.folder)["columns"]
    assert columns["page"]["rows"] == [entry.page for entry in run.verdicts]
    assert len(run.verdicts) == 27
    assert {builder.folder / entry.page for entry in run.verdicts} <= set(pages)


def test_without_javascript_the_index_lists_the_verdicts_without_agreement(
    builder: RunBuilder, pages: Any
) -> None:
    links = set(pages[builder.folder / "index.html"].links())
    kinds = {VerdictKind.MATCH, VerdictKind.REFUSED}
    notable = {entry.page for entry in load_run(builder.folder).verdicts if entry.verdict.kind not in kinds}
    assert notable <= links
    assert {"models/qwen2_5_vl.html", "models/qwen3_vl.html", "backends/vllm.html"} <= links


def test_pages_of_models_and_backends_link_to_their_comparisons(builder: RunBuilder, pages: Any) -> None:
    for entry in load_run(builder.folder).verdicts:
        for page in (f"models/{entry.verdict.model}.html", f"backends/{entry.verdict.backend}.html"):
            assert f"../{entry.page}" in pages[builder.folder / page].links()
            assert f"../{page}" in pages[builder.folder / entry.page].links()


def test_the_index_begins_with_the_result(builder: RunBuilder, pages: Any) -> None:
    text = pages[builder.folder / "index.html"].text
    assert "4 of 27 comparisons differ, 1 of them known; first new one at prompt" in text
    assert "This run does not pass." in text


def test_pages_are_well_formed_and_have_one_main_heading(pages: Any) -> None:
    for page in pages.values():
        assert not page.open
        assert [tag for tag, _ in page.tags].count("h1") == 1
        ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
        assert len(ids) == len(set(ids))


def test_nothing_is_loaded_from_elsewhere(pages: Any) -> None:
    for file, page in pages.items():
        for link in page.links():
            assert not re.match(r"[a-z]+:|//", link) or link.startswith("data:"), link
            if not link.startswith(("data:", "#")):
                assert (file.parent / link.partition("#")[0]).is_file(), link
        assert "url(" not in "".join(page.raw["style"])
        assert "@import" not in "".join(page.raw["style"])


def test_the_policy_lets_in_the_style_and_the_script_and_no_more(pages: Any) -> None:
    for file, page in pages.items():
        policy = next(attrs["content"] for _, attrs in page.tags if "http-equiv" in attrs)
        assert policy.startswith("default-src 'none'; img-src data:; ")
        folder = ["'self' file:"] if file.name == "index.html" else []
        for kind, sources in (("style", []), ("script", folder)):
            hashes = [_csp_hash("".join(page.raw[kind]))] if kind in page.raw else []
            assert f"; {kind}-src {' '.join([*sources, *hashes] or [NO_SOURCE])}; " in policy
        assert not [attrs for _, attrs in page.tags if "style" in attrs]


def _csp_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_report_file_is_what_the_pages_show(builder: RunBuilder, pages: Any) -> None:
    document = json.loads((builder.folder / "report.json").read_text())
    assert {str(builder.folder / verdict["page"]) for verdict in document["verdicts"]} == {
        str(file) for file in pages if file.parent.name == "cases"
    }


def test_pages_of_an_earlier_report_go_away(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.verdict(case="one"), name="a")
    write_report(load_run(builder.folder))
    (builder.folder / "shards" / "a").rename(builder.folder / "shards" / "b")
    write_report(load_run(builder.folder))
    assert [file.name for file in (builder.folder / "cases").iterdir()] == ["b-qwen2_5_vl-vllm-one.html"]


def _hostile_verdict(records: ModuleType) -> Any:
    prefill = records.logits(Stage.PREFILL, [0.5], first=0, message=f"{HOSTILE}\n{HOSTILE}")
    evidence = prefill.evidence.model_copy(update={"rule": HOSTILE})
    vocabulary = dict.fromkeys(records.VOCABULARY, HOSTILE)
    where = records.environment(workarounds=(HOSTILE,), settings={HOSTILE: HOSTILE}, packages={HOSTILE: "1"})
    sides = {
        "reference": records.trace("transformers", "one_image", vocabulary=vocabulary, prompt=HOSTILE),
        "tested": records.trace(
            "vllm",
            "one_image",
            vocabulary=vocabulary,
            prompt=f"x{HOSTILE}",
            message=HOSTILE,
            environment=where,
        ),
    }
    prefill = prefill.model_copy(update={"evidence": evidence, "metrics": {HOSTILE: 1.0}})
    return records.verdict(
        VerdictKind.MISMATCH, records.wrong_ids(), prefill,
        model=HOSTILE, reason=HOSTILE, reproduce=HOSTILE, known=HOSTILE,
        diagnoses=[{"stage": "input_ids", "cause": HOSTILE, "explanation": HOSTILE, "confidence": 0.5}] * 2,
        **sides,
    )  # fmt: skip


def test_hostile_text_stays_text(builder: RunBuilder, records: ModuleType) -> None:
    verdict = _hostile_verdict(records)
    shard = builder.shard(
        records.verdict(case="other"),
        cases={"one_image": records.case("one_image", text=HOSTILE)},
        models={},
        command=HOSTILE,
        seconds={HOSTILE: 1.0},
    )
    records.write_record(shard / "verdicts" / "hostile.json", verdict)
    (shard / "verdicts" / "broken.json").write_text(json.dumps({"case": HOSTILE}))
    for file, page in _pages(builder.folder).items():
        scripts = [tag for tag, _ in page.tags if tag == "script"]
        assert len(scripts) == SCRIPTS.get(file.name, SCRIPTS.get(file.parent.name, 0))
        assert "alert" not in "".join(page.raw.get("script", []))
        assert all(not name.startswith("on") for _, attrs in page.tags for name in attrs)
        assert all(attrs["src"].startswith("data:") for tag, attrs in page.tags if tag == "img")
        assert "\u202e" not in file.read_text(encoding="utf-8")
        if file.name == "index.html" or "one_image" in file.name:
            assert HOSTILE.replace("\u202e", "\\u202e") in page.text


def test_an_issue_cannot_be_left_by_a_fence_in_the_text(builder: RunBuilder, records: ModuleType) -> None:
    verdict = records.silent(VerdictKind.ERROR, "one\n````\n<b>two</b>")
    text = _case_page(builder, verdict).text
    assert "````` one ```` <b>two</b> `````" in text


def test_a_failure_of_the_harness_is_no_issue_for_the_engine(
    builder: RunBuilder, records: ModuleType
) -> None:
    reason = "the harness failed while capturing vllm: KeyError: 'x'\n  vlm_parity/a.py, line 1, in b"
    builder.shard(records.silent(VerdictKind.HARNESS_ERROR, reason).model_copy(update={"reason": reason}))
    (entry,) = load_run(builder.folder).verdicts
    issue = build_issue(entry, None)
    assert issue.startswith("# vlm-parity: the harness failed on one_image (qwen2_5_vl, vllm)\n")
    assert "the harness failed while capturing vllm: KeyError: 'x'" in issue
    assert "Output of vllm" not in issue


def test_an_incomplete_part_is_visible(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.verdict(), expected=4, finished=None)
    text = _pages(builder.folder)[builder.folder / "index.html"].text
    assert "Shard vllm is incomplete: 1 of 4 expected verdicts; its session was interrupted." in text
    assert "This run does not pass." in text


def test_an_unreadable_verdict_is_visible(builder: RunBuilder, records: ModuleType) -> None:
    shard = builder.shard(records.verdict())
    (shard / "verdicts" / "broken.json").write_text("{")
    text = _pages(builder.folder)[builder.folder / "index.html"].text
    assert "shards/vllm/verdicts/broken.json: not a readable Verdict" in text
    assert "This run does not pass." in text


def test_an_empty_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    text = _pages(tmp_path / "run")[tmp_path / "run" / "index.html"].text
    assert "Nothing was compared" in text
    assert "the run holds no shard" in text
    assert "This run does not pass." in text


def test_a_healthy_run_says_so(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.verdict())
    assert "This run passes." in _pages(builder.folder)[builder.folder / "index.html"].text


def test_thumbnails_are_inside_the_page_and_may_be_missing(builder: RunBuilder, records: ModuleType) -> None:
    builder.thumbnail("vllm", "one_image")
    builder.shard(records.verdict(), cases={"one_image": records.case("one_image", images=2)})
    page = _only_case_page(builder)
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == ["image: gradient, 336 × 224, seed 3"]
    assert images[0]["src"].startswith("data:image/png;base64,iVBOR")
    assert "no thumbnail" in page.text


def test_a_broken_file_has_its_reason_in_place_of_a_thumbnail(
    builder: RunBuilder, records: ModuleType
) -> None:
    builder.thumbnail("vllm", "one_image")
    media = builder.folder / "shards/vllm/media/one_image"
    (media / "0.png").rename(media / "0.txt")
    (media / "0.txt").write_text("broken image: <truncated>")
    builder.shard(records.verdict(), cases={"one_image": records.case("one_image")})
    assert "no thumbnail: broken image: <truncated>" in _only_case_page(builder).text


def test_what_agents_add_to_a_conversation_is_shown_as_in_the_file(
    builder: RunBuilder, records: ModuleType
) -> None:
    call = {"id": "call_1", "function": {"name": "<marquee>", "arguments": {"at": "\x1b[31m"}}}
    turns = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "user", "content": "Hi"}]
    data = {"name": "one_image", "summary": "s", "messages": turns, "tools": [{"type": "function"}]}
    builder.shard(records.verdict(), cases={"one_image": Case.model_validate(data)})
    page = _only_case_page(builder)
    assert "tool_calls: - id: call_1 function: name: <marquee> arguments: at: " in page.text
    assert "content: null" in page.text
    assert "arguments of the chat template tools: - type: function" in page.text
    assert "\x1b" not in page.text
    assert not [tag for tag, _ in page.tags if tag == "marquee"]


def test_file_that_is_not_an_image_is_not_embedded(builder: RunBuilder, records: ModuleType) -> None:
    builder.thumbnail("vllm", "one_image")
    (builder.folder / "shards/vllm/media/one_image/0.png").write_bytes(b"<svg onload=alert(1)>")
    page = _case_page(builder, records.verdict())
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_wrong_ids_are_aligned_with_runs_collapsed(builder: RunBuilder, records: ModuleType) -> None:
    verdict = records.verdict(VerdictKind.MISMATCH, records.wrong_ids())
    text = _case_page(builder, verdict).text
    assert "≠ 15–102 151655 <|image_pad|> × 88 15–102 151643 <|endoftext|> × 88" in text
    assert "12 equal positions, 0–11" in text


def test_a_stage_that_was_not_compared_says_why(builder: RunBuilder, records: ModuleType) -> None:
    text = _case_page(builder, records.verdict()).text
    assert "media – not compared" in text
    assert "The backend does not give this out." in text


def test_consequence_is_distinct_from_finding(builder: RunBuilder, records: ModuleType) -> None:
    decode = records.logits(Stage.DECODE, [0.1], first=124, consequence=True)
    text = _case_page(builder, records.verdict(VerdictKind.MISMATCH, records.wrong_ids(), decode)).text
    assert "decode ↳ mismatch, a consequence" in text
    assert "input_ids ≠ mismatch" in text


def with_second_prefill(records: ModuleType, *rms: float) -> Any:
    """Return a verdict with other ids, and rows of prefill on the reference's features."""
    given = records.logits(Stage.PREFILL, rms, first=0, condition=Condition.FEATURES)
    prefill = records.logits(Stage.PREFILL, [0.5], first=0, conditioned=given)
    return records.verdict(VerdictKind.MISMATCH, records.wrong_ids(), prefill)


def test_a_stage_that_agrees_on_given_values_is_shown_to_follow(
    builder: RunBuilder, records: ModuleType
) -> None:
    text = _case_page(builder, with_second_prefill(records, 1e-7)).text
    assert "prefill = match on given values" in text
    assert "match on the reference's ids, positions and features" in text
    assert "| prefill | match on the reference's ids, positions and features |" in text  # the issue
    assert "Another difference" not in text


def test_a_difference_on_given_values_is_another_difference(builder: RunBuilder, records: ModuleType) -> None:
    text = _case_page(builder, with_second_prefill(records, 0.4)).text
    assert "prefill ≠ mismatch on given values" in text
    assert re.search(
        r"Another difference, at prefill ?, on the reference's ids, positions and features", text
    )
    assert "**prefill** on the reference's ids, positions and features" in text


def test_the_surest_diagnosis_is_under_the_verdict_and_the_others_are_folded(
    builder: RunBuilder, records: ModuleType
) -> None:
    verdict = records.verdict(VerdictKind.MISMATCH, records.wrong_ids(), diagnoses=records.DIAGNOSES)
    page = _case_page(builder, verdict)
    first, second = "pad token used as image token almost certain, 95 %", "another tokenizer faint, 20 %"
    assert f"{first} All 88 placeholders" in page.text
    assert f"1 other possible cause {second} One id of 88" in page.text
    assert "**Cause** (almost certain, 95 %): pad token used as image token All 88" in page.text


def test_index_lists_causes_of_differences(builder: RunBuilder, pages: Any) -> None:
    text = pages[builder.folder / "index.html"].text
    assert "≠ 1 mismatch pad token used as image token at input_ids qwen2_5_vl in lmdeploy: wrong_ids" in text
    assert "≠ 1 mismatch no rule explains it at prompt qwen2_5_vl in lmdeploy: other_prompt" in text
    assert "≈ 1 known gelu: another one. at prefill qwen3_vl in vllm: known_one" in text


def test_note_of_known_issue_is_shown(builder: RunBuilder, records: ModuleType) -> None:
    verdict = records.verdict(VerdictKind.KNOWN, records.wrong_ids(), known="gelu: see upstream.")
    page = _case_page(builder, verdict)
    assert "Known issue gelu: see upstream." in page.text
    assert "Known issue: gelu: see upstream." in page.text
    assert "88 15–102 151643" in page.text, "the evidence stays"


def test_the_most_likely_tokens_of_both_sides_are_joined_by_id(
    builder: RunBuilder, records: ModuleType
) -> None:
    prefill = records.logits(Stage.PREFILL, [0.5], first=0)
    evidence = prefill.evidence
    top = (*evidence.tested_top[1:], evidence.tested_top[0].model_copy(update={"id": 99, "text": "new"}))
    prefill = prefill.model_copy(update={"evidence": evidence.model_copy(update={"tested_top": top})})
    text = _case_page(builder, records.verdict(VerdictKind.MISMATCH, prefill)).text
    assert "0 word0 -0.4000 -0.1000 +3.00e-01" in text
    assert "99 new not in its top -2.9000 –" in text


def test_command_and_output_tail_are_shown(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.silent(VerdictKind.CRASH, "signal 11"))
    log = builder.folder / "shards/vllm/logs/qwen2_5_vl-vllm.log"
    log.parent.mkdir()
    log.write_text("\x1b[31mlast line\x1b[0m\n")
    page = _only_case_page(builder)
    assert "pytest cases --backend vllm -k one_image" in page.text
    assert "signal 11" in page.text
    assert "last line" in page.text
    assert "x1b" not in page.text
    assert "../shards/vllm/logs/qwen2_5_vl-vllm.log" in page.links()


@pytest.mark.parametrize(
    ("mode", "entry_point", "label"),
    [
        ("default", "server", "vllm-server"),  # an engine of its own
        ("default", "token_ids", "vllm"),
        ("batched", "chat", "vllm-batched"),
    ],
)
def test_the_output_tail_is_that_of_the_engine_of_the_setup(
    builder: RunBuilder, records: ModuleType, mode: str, entry_point: str, label: str
) -> None:
    verdict = records.silent(VerdictKind.CRASH, "signal 11")
    builder.shard(verdict.model_copy(update={"mode": mode, "entry_point": EntryPoint(entry_point)}))
    logs = builder.folder / "shards/vllm/logs"
    logs.mkdir()
    for name in ("vllm", "vllm-server", "vllm-batched"):
        (logs / f"qwen2_5_vl-{name}.log").write_text(f"last line of {name}\n")
    page = _only_case_page(builder)
    assert [link for link in page.links() if "/logs/" in link] == [
        f"../shards/vllm/logs/qwen2_5_vl-{label}.log"
    ]


@pytest.mark.parametrize(
    ("kind", "prompt"), list(product((VerdictKind.MISMATCH, VerdictKind.KNOWN), ("", None)))
)
def test_any_trace_has_a_page(builder: RunBuilder, records: ModuleType, kind: Any, prompt: Any) -> None:
    tested = records.trace("vllm", "one_image", prompt=prompt, input_ids=(), spans=(), greedy=None)
    assert str(kind) in _case_page(builder, records.verdict(kind, records.wrong_ids(), tested=tested)).text


def test_stages_are_spelled_out_on_the_index(builder: RunBuilder, pages: Any) -> None:
    text = pages[builder.folder / "index.html"].text
    for stage, status in product(Stage, (DiffStatus.MATCH, DiffStatus.NOT_COMPARED)):
        assert f"{stage}: {status}" in text or stage in {*NEVER_CAPTURED, Stage.ENCODER_BUDGET}


def test_the_index_leads_to_the_pages_of_other_commands(builder: RunBuilder, pages: Any) -> None:
    index = builder.folder / "index.html"
    assert "replays.html" not in pages[index].links()
    (builder.folder / "replays.html").touch()
    assert "replays.html" in _pages(builder.folder)[index].links()
