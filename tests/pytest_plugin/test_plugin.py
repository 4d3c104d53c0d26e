"""The plug-in, as somebody who types ``pytest cases`` meets it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.sessions import pytest_words
from tests.support.traces import ARRAYS, FLOOR, IDS, PREFILL, make_trace
from vlm_parity.diagnosis.registry import load_rules
from vlm_parity.models.resolve import resolve_model
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.array_sketch import SKETCH_FILE
from vlm_parity.schema.noise_floor import get_floor_folder
from vlm_parity.schema.record import read_record
from vlm_parity.schema.run import Shard
from vlm_parity.schema.trace import ARRAY_FILE
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.session import references
from vlm_parity.util.cache_dir import CACHE_VARIABLE

pytest_plugins = ["pytester"]

load_rules()  # here, for pytester forgets what a run imports, and a rule that is imported twice explains twice

CASES = Path(__file__).parents[2] / "cases"
QUESTIONS = {"tokens": ["prompt", "input_ids", "spans"], "logits": ["prefill", "decode", "greedy"]}
"""The tests of every case by depth, in the order in which they run; as in ``cases/``, and few."""
EVERY_QUESTION = QUESTIONS["tokens"] + QUESTIONS["logits"]

QUICK = ("-p", "vlm_parity.pytest_plugin.plugin", "-p", "no:hypothesispytest", "-p", "no:cacheprovider")
Run = Callable[..., pytest.RunResult]


def module(depth: str) -> str:
    """A test module as somebody would write it who has cases of his own."""
    tests = (
        f"def test_{name}(parity_comparison): parity_comparison.check({name!r})" for name in QUESTIONS[depth]
    )
    return "\n".join(["import pytest", f"pytestmark = pytest.mark.parity_{depth}", *tests])


@pytest.fixture
def parity(pytester: pytest.Pytester) -> Run:
    """``pytest cases`` in a clone with three of the cases: a text, two pictures, a video."""
    folder = pytester.path / "cases"
    (folder / "conversations").mkdir(parents=True)
    (folder / "test_input.py").write_text(module("tokens"))
    (folder / "test_output.py").write_text(module("logits"))
    for name in ("text_only", "two_images", "one_video"):
        shutil.copy(CASES / "conversations" / f"{name}.yaml", folder / "conversations")
    inprocess = pytester.runpytest_inprocess

    def run(*arguments: str, run: Callable[..., pytest.RunResult] = inprocess) -> pytest.RunResult:
        return run(*QUICK, *pytest_words("--strict-markers", "--run", "run", "cases", *arguments))

    return run


def selected(result: pytest.RunResult) -> list[str]:
    """The ids of the selected tests, without their files."""
    return [line.partition("::")[2] for line in result.outlines if "::test_" in line]


def listed(parity: Run, *arguments: str) -> list[str]:
    return selected(parity("--collect-only", "-q", "--backend", "vllm", "--model", "qwen2_vl", *arguments))


# What is selected


def test_an_id_names_question_model_backend_and_case(parity: Run) -> None:
    ids = [f"test_{question}[qwen2_vl-vllm-two_images]" for question in EVERY_QUESTION]
    assert listed(parity, "--case", "two_images") == ids


EVERY_SETUP = ("--mode", "all", "--entry-point", "all")


def test_an_id_names_a_mode_other_than_the_default(parity: Run) -> None:
    modes = ("--mode", "chunked_prefill", "--mode", "default")
    ids = listed(parity, "--case", "two_images", "-k", "greedy", *modes)
    assert ids == [f"test_greedy[qwen2_vl-{label}-two_images]" for label in ("vllm-chunked_prefill", "vllm")]


def test_all_setups_are_those_of_the_selected_backend(parity: Run) -> None:
    ids = listed(parity, "--case", "two_images", "-k", "greedy", *EVERY_SETUP)
    labels = ("vllm", "vllm-text", "vllm-token_ids", "vllm-server",
              "vllm-batched", "vllm-chunked_prefill", "vllm-prefix_cached")  # fmt: skip
    assert ids == [f"test_greedy[qwen2_vl-{label}-two_images]" for label in labels]


def test_without_an_engine_there_is_one_mode_and_no_server(parity: Run) -> None:
    ids = listed(parity, "--case", "two_images", "-k", "spans", *EVERY_SETUP, "--depth", "tokens")
    labels = ("vllm", "vllm-text", "vllm-token_ids")
    assert ids == [f"test_spans[qwen2_vl-{label}-two_images]" for label in labels]


def test_a_case_about_what_is_fed_asks_for_no_answers(parity: Run, pytester: pytest.Pytester) -> None:
    shutil.copy(CASES / "conversations" / "png_file.yaml", pytester.path / "cases" / "conversations")
    ids = listed(parity, "--case", "png_file", *EVERY_SETUP)
    labels = ("vllm", "vllm-text", "vllm-token_ids")
    assert ids == [
        f"test_{name}[qwen2_vl-{label}-png_file]" for label in labels for name in QUESTIONS["tokens"]
    ]


def test_three_families_are_asked_by_default(parity: Run) -> None:
    result = parity("--collect-only", "-q", "--backend", "vllm", "--case", "text_only", "--depth", "tokens")
    models = {name.partition("[")[2].partition("-")[0] for name in selected(result)}
    assert models == {"qwen2_vl", "qwen2_5_vl", "qwen3_vl"}


def test_tests_of_one_engine_come_together(parity: Run) -> None:
    ids = listed(parity, "--backend", "lmdeploy", "--case", "text_only")
    engines = [name.partition("[")[2] for name in ids]
    assert engines == ["qwen2_vl-vllm-text_only]"] * 6 + ["qwen2_vl-lmdeploy-text_only]"] * 6


def test_the_depth_of_tokens_leaves_out_what_needs_weights(parity: Run) -> None:
    ids = listed(parity, "--case", "text_only", "--depth", "tokens")
    assert ids == [f"test_{question}[qwen2_vl-vllm-text_only]" for question in QUESTIONS["tokens"]]


@pytest.mark.parametrize(
    ("selection", "cases"),
    [
        (("--case", "two_*"), {"two_images"}),
        (("--case", "*o*_*"), {"two_images", "one_video"}),
        (("--case", "text_only", "--case", "one_video"), {"text_only", "one_video"}),
        (("-m", "parity_video"), {"one_video"}),
        (("-m", "parity_image"), {"two_images"}),
        (("-m", "parity_text"), {"text_only"}),
        (("-m", "parity_qwen2_vl and parity_vllm and not parity_video"), {"text_only", "two_images"}),
        (("-m", "parity_qwen3_vl"), set()),
        (("-k", "two"), {"two_images"}),
    ],
)
def test_cases_are_selected_by_pattern_and_marker(
    parity: Run, selection: tuple[str, ...], cases: set[str]
) -> None:
    ids = listed(parity, "--depth", "tokens", *selection)
    assert {name.rpartition("-")[2].rstrip("]") for name in ids} == cases


def test_collecting_loads_no_engine(parity: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
        import sys
        def pytest_unconfigure():
            print("loaded:", {"torch", "transformers", "vllm", "lmdeploy"} & set(sys.modules) or None)
    """)
    result = parity("--collect-only", "-q", "--backend", "vllm", run=pytester.runpytest_subprocess)
    assert len(selected(result)) == 3 * 3 * 6
    result.stdout.fnmatch_lines(["loaded: None"])
    assert not (pytester.path / "run").exists()


def test_options_are_explained(parity: Run) -> None:
    text = parity("--help").stdout.str()
    assert "vlm-parity: serving engines against transformers:" in text
    assert "--keep-logits" in text


LISTED = """
[[model]]
name = "small"
hub_id = "org/small"
revision = "main"
family = "paligemma_of_nobody"
memory_gib = 1
dtype = "bfloat16"
[[model]]
name = "pictures"
hub_id = "org/pictures"
revision = "0123456789012345678901234567890123456789"
family = "qwen2_vl"
memory_gib = 1
dtype = "bfloat16"
"""


def test_a_name_in_the_model_list_is_a_model(parity: Run, pytester: pytest.Pytester) -> None:
    (pytester.path / "cases" / "models.toml").write_text(LISTED)
    result = parity("--collect-only", "-q", "--backend", "vllm", "--model", "small", "--case", "text_only")
    assert selected(result)[0] == "test_prompt[small-vllm-text_only]"


def test_a_model_list_that_is_named_stands_for_all_of_its_models(
    parity: Run, pytester: pytest.Pytester
) -> None:
    (pytester.path / "nightly.toml").write_text(LISTED)
    asked = ("--collect-only", "-q", "--backend", "vllm", "--case", "text_only", "--depth", "tokens")
    result = parity(*asked, "--model-list", "nightly.toml")
    assert {name.partition("[")[2].partition("-")[0] for name in selected(result)} == {"small", "pictures"}


def test_a_model_list_that_cannot_be_read_is_wrong_use(parity: Run, pytester: pytest.Pytester) -> None:
    (pytester.path / "nightly.toml").write_text("[[model]]")
    result = parity("--backend", "vllm", "--model-list", "nightly.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*nightly.toml: entry 1, name: Field required"])


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--backend", "vlm"),
            "*--parity-backend vlm: no such backend; there are: *transformers, vllm",
        ),
        (
            ("--backend", "vllm", "--case", "three*"),
            "*--parity-case three[*]: matches none of: one_video, text_only, *",
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
        (("--backend", "vllm", "--engine-arg", "eager"), "*--parity-engine-arg eager: must be NAME=VALUE"),
    ],
)
def test_wrong_use_is_told(parity: Run, arguments: tuple[str, ...], message: str) -> None:
    result = parity(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "Traceback" not in result.stderr.str() + result.stdout.str()


def test_without_any_engine_one_is_told_what_to_do(parity: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm_parity.pytest_plugin.selection.find_spec", lambda _: None)
    result = parity()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no serving engine is installed in this environment: install one, *"])


def test_a_bad_case_file_is_told_with_its_line(parity: Run, pytester: pytest.Pytester) -> None:
    path = pytester.path / "cases" / "conversations" / "bad.yaml"
    path.write_text("summary: s\nmessages:\n- role: robot\n  content: Hi\n")
    result = parity("--backend", "vllm")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{path}:3: messages[[]0].role: *"])


# What is judged again: traces of an earlier run, no engine


@pytest.fixture
def earlier(pytester: pytest.Pytester) -> Callable[..., None]:
    """Writes the traces of an earlier run: two cases that agree, but for what a test changes in one."""

    def write(logits: dict[str, np.ndarray] = ARRAYS, **changes: Any) -> None:
        folder = pytester.path / "earlier" / "shards" / "vllm" / "traces" / "qwen2_vl"
        for case in ("text_only", "two_images"):
            make_trace("transformers", case=case).write(folder / "reference" / case, ARRAYS)
            FLOOR.write(get_floor_folder(folder / "reference" / case, "float32"))
            make_trace(case=case).write(folder / "vllm" / case, ARRAYS)
        make_trace(case="two_images", **changes).write(folder / "vllm" / "two_images", logits)

    return write


AGAIN = ("--backend", "vllm", "--model", "qwen2_vl", "--rejudge", "earlier", "-rfs")
BOTH = ("--case", "t*")


def failures(result: pytest.RunResult) -> list[str]:
    lines = [line.split()[1] for line in result.outlines if line.startswith(("FAILED", "ERROR"))]
    return [line.partition("::")[2] for line in lines]


def test_traces_that_agree_pass_and_leave_a_report(
    parity: Run, earlier: Callable[..., None], pytester: pytest.Pytester
) -> None:
    earlier()
    result = parity(*AGAIN, *BOTH, "--shard", "again")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=12)
    result.stdout.fnmatch_lines(["None of 2 comparisons differs. This run passes."])
    folder = pytester.path / "run"
    assert (folder / "index.html").is_file()
    assert json.loads((folder / "report.json").read_text())["run"]["passes"] is True
    shard = read_record(folder / "shards" / "again" / "shard.json", Shard)
    assert (shard.expected, shard.backends, list(shard.cases)) == (2, ("vllm",), ["text_only", "two_images"])
    assert shard.finished


def test_a_wrong_token_fails_the_right_test_with_the_right_message(
    parity: Run, earlier: Callable[..., None]
) -> None:
    earlier(input_ids=(*IDS[:-1], 12))
    result = parity(*AGAIN, *BOTH)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert failures(result) == ["test_input_ids[qwen2_vl-vllm-two_images]"]
    result.assert_outcomes(passed=9, failed=1, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "two_images: qwen2_vl in vllm against transformers",
            "input_ids differ: 12 in the reference, 12 in vllm; first at index 11, 1 positions differ",
            ">  11     <assistant> (7)  . (12)",
            "reproduce: parity run --depth logits --backend vllm --model qwen2_vl --case two_images",
        ]
    )
    result.stdout.fnmatch_lines(["SKIPPED * mismatch: the ids differ, so the positions have no counterpart"])
    assert "harness/" not in "".join(line for line in result.outlines if "SKIPPED" not in line)


def test_a_wrong_row_fails_the_right_test(parity: Run, earlier: Callable[..., None]) -> None:
    moved = PREFILL.copy()
    moved[4, moved[4].argmax()] += 1e-3
    earlier({**ARRAYS, "prefill": moved})
    result = parity(*AGAIN, *BOTH)
    assert failures(result) == ["test_prefill[qwen2_vl-vllm-two_images]"]
    result.stdout.fnmatch_lines(["prefill log-probabilities differ at 1 of 12 positions"])


def test_a_later_difference_is_told_to_be_a_consequence(parity: Run, earlier: Callable[..., None]) -> None:
    earlier(prompt="other", greedy=(1, 2, 3))
    result = parity(*AGAIN, *BOTH)
    assert failures(result) == [f"test_{name}[qwen2_vl-vllm-two_images]" for name in ("prompt", "greedy")]
    result.stdout.fnmatch_lines(["(a consequence: prompt differs already)"])


def test_each_variant_is_judged_by_its_own_traces(
    parity: Run, earlier: Callable[..., None], pytester: pytest.Pytester
) -> None:
    earlier()
    folder = pytester.path / "earlier" / "shards" / "vllm" / "traces" / "qwen2_vl" / "vllm-chunked_prefill"
    make_trace(case="text_only", mode="chunked_prefill", prompt="other").write(folder / "text_only", ARRAYS)
    result = parity(*AGAIN, "--case", "text_only", "--mode", "default", "--mode", "chunked_prefill")
    assert failures(result) == ["test_prompt[qwen2_vl-vllm-chunked_prefill-text_only]"]
    result.stdout.fnmatch_lines(
        [
            "text_only: qwen2_vl in vllm-chunked_prefill against transformers",
            "reproduce: parity run --depth logits --backend vllm --model qwen2_vl --mode chunked_prefill "
            "--case text_only",
        ]
    )
    run = load_run(pytester.path / "run")
    assert not run.problems
    assert {entry.verdict.mode for entry in run.verdicts} == {"default", "chunked_prefill"}
    assert len({entry.page for entry in run.verdicts}) == 2


def test_a_missing_trace_fails_the_tests_that_need_it(parity: Run, earlier: Callable[..., None]) -> None:
    earlier()
    result = parity(*AGAIN, "-k", "prompt")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert failures(result) == ["test_prompt[qwen2_vl-vllm-one_video]"]
    result.stdout.fnmatch_lines(
        [
            "earlier: holds no traces of both sides for model qwen2_vl, backend vllm, case one_video; "
            "make them with --keep-logits"
        ]
    )


def test_test_modules_of_two_folders_have_cases_of_their_own(
    parity: Run, earlier: Callable[..., None], pytester: pytest.Pytester
) -> None:
    earlier()
    (pytester.path / "cases" / "conversations" / "two_images.yaml").unlink()
    other = pytester.mkdir("other")
    (other / "conversations").mkdir()
    (other / "test_other_input.py").write_text(module("tokens"))
    shutil.copy(CASES / "conversations" / "two_images.yaml", other / "conversations")
    result = parity(*AGAIN, "other", "--depth", "tokens", "-k", "not one_video")
    result.assert_outcomes(passed=6, deselected=9)


def test_only_what_is_selected_is_expected(
    parity: Run, earlier: Callable[..., None], pytester: pytest.Pytester
) -> None:
    earlier(prompt="other")
    result = parity(*AGAIN, "-m", "parity_text", "-k", "spans")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, deselected=17)
    (entry,) = load_run(pytester.path / "run").verdicts
    assert (entry.verdict.case, entry.verdict.kind) == ("text_only", VerdictKind.MATCH)


def test_a_part_of_the_same_name_is_replaced(
    parity: Run, earlier: Callable[..., None], pytester: pytest.Pytester
) -> None:
    earlier()
    parity(*AGAIN, *BOTH, "--shard", "again")
    parity(*AGAIN, "--case", "text_only", "--shard", "again")
    assert [entry.verdict.case for entry in load_run(pytester.path / "run").verdicts] == ["text_only"]


def test_a_session_that_is_cut_off_leaves_what_it_had(
    parity: Run, earlier: Callable[..., None], pytester: pytest.Pytester
) -> None:
    earlier()
    pytester.makeconftest("""
        import pytest
        def pytest_runtest_setup(item):
            if item.originalname == "test_prefill":
                raise KeyboardInterrupt
    """)
    result = parity(*AGAIN, *BOTH, run=partial(pytester.runpytest_inprocess, no_reraise_ctrlc=True))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    run = load_run(pytester.path / "run")
    assert len(run.verdicts) == 2
    assert [shard.incomplete_reason for shard in run.incomplete] == [
        "its session was interrupted or is still running"
    ]


def test_a_plain_test_run_is_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_inprocess(*QUICK)
    assert result.ret == pytest.ExitCode.OK
    assert "vlm-parity" not in "".join(result.outlines[4:])  # below the list of plug-ins
    left = {path.name for path in pytester.path.iterdir() if path.suffix != ".py"}
    assert left <= {"__pycache__"}


# What is known: the ledger beside the cases


LEDGER = """[[issue]]
name = "shift"
backend = "vllm"
case = "two_images"
stage = "input_ids"
upstream = "not reported yet"
expires = 2999-01-01
note = "One token more."
"""


@pytest.fixture
def known_issues(pytester: pytest.Pytester) -> Path:
    """A ledger beside the cases that knows of a mismatch at the ids of one case."""
    path = pytester.path / "cases" / "known_issues.toml"
    path.write_text(LEDGER)
    return path


@pytest.mark.usefixtures("parity", "known_issues")
def test_what_is_known_passes(parity: Run, earlier: Callable[..., None], pytester: pytest.Pytester) -> None:
    earlier(input_ids=(*IDS[:-1], 12))
    result = parity(*AGAIN, *BOTH, "-rx")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=9, xfailed=1, skipped=2)
    result.stdout.fnmatch_lines(["XFAIL * shift: One token more. Upstream: not reported yet. *"])
    result.stdout.fnmatch_lines(["1 of 2 comparisons differs, all of them known. This run passes."])
    kinds = [entry.verdict.kind for entry in load_run(pytester.path / "run").verdicts]
    assert kinds == [VerdictKind.KNOWN, VerdictKind.MATCH]


def test_known_mismatches_can_be_asked_for(
    parity: Run, earlier: Callable[..., None], known_issues: Path, pytester: pytest.Pytester
) -> None:
    earlier(input_ids=(*IDS[:-1], 12))
    assert failures(parity(*AGAIN, *BOTH, "--no-known-issues")) == [
        "test_input_ids[qwen2_vl-vllm-two_images]"
    ]
    assert failures(parity(*AGAIN, *BOTH, "--runxfail")) == ["test_input_ids[qwen2_vl-vllm-two_images]"]
    known_issues.rename(pytester.path / "elsewhere.toml")
    assert failures(parity(*AGAIN, *BOTH)) == ["test_input_ids[qwen2_vl-vllm-two_images]"]
    assert parity(*AGAIN, *BOTH, "--known-issues", "elsewhere.toml").ret == pytest.ExitCode.OK


@pytest.mark.usefixtures("parity", "known_issues")
def test_what_is_fixed_fails(parity: Run, earlier: Callable[..., None]) -> None:
    earlier()
    result = parity(*AGAIN, *BOTH)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=6, failed=6)
    result.stdout.fnmatch_lines(["fixed: no mismatch at input_ids, contrary to the known issue shift: *"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            LEDGER.replace("input_ids", "ids"),
            "*known_issues.toml: entry shift, stage: *not a stage; valid: *",
        ),
        (None, "*other.toml: * No such file *"),
    ],
)
def test_a_ledger_that_cannot_be_read_is_wrong_use(
    parity: Run, known_issues: Path, text: str | None, message: str
) -> None:
    if text:
        known_issues.write_text(text)
    result = parity("--backend", "vllm", *([] if text else ["--known-issues", "other.toml"]))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


# With workers


def test_workers_give_the_same_verdicts(
    parity: Run, earlier: Callable[..., None], pytester: pytest.Pytester
) -> None:
    pytest.importorskip("xdist")
    moved = PREFILL.copy()
    moved[4, 0] += 1
    earlier({**ARRAYS, "prefill": moved})
    parity(*AGAIN, *BOTH, "--run", "alone")
    result = parity(*AGAIN, *BOTH, "--run", "shared", "-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert failures(result) == ["test_prefill[qwen2_vl-vllm-two_images]"]
    alone, shared = (load_run(pytester.path / name) for name in ("alone", "shared"))
    assert [entry.verdict for entry in shared.verdicts] == [entry.verdict for entry in alone.verdicts]
    assert not shared.incomplete
    assert not shared.problems


def test_workers_tell_of_wrong_use_too(parity: Run) -> None:
    pytest.importorskip("xdist")
    result = parity("--backend", "vlm", "-n", "1")
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*UsageError: --parity-backend vlm: no such backend; there are: *"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_a_plain_test_run_with_workers_is_left_alone(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_inprocess(*QUICK, "-n", "1")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1)
    assert not (pytester.path / "reports").exists()


# With an engine


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps the reference's traces from test to test."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def engine(
    parity: Run,
    tiny_engine: str,
    shared_cache: Path,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """``pytest cases`` on a model that the tiny engine runs; the reference is the tiny engine too."""
    monkeypatch.setattr(references, "REFERENCE_BACKEND", tiny_engine)
    monkeypatch.setenv(CACHE_VARIABLE, str(shared_cache))
    model = pytester.mkdir("tiny model")
    (model / "config.json").write_text('{"model_type": "tiny"}')
    for name in ("tokenizer.json", "preprocessor_config.json", "model.safetensors"):
        (model / name).touch()
    return lambda *arguments: parity("--backend", tiny_engine, "--model", str(model), "-rfs", *arguments)


def loads(pytester: pytest.Pytester) -> dict[str, int]:
    """How often each engine was loaded, by the name of its log."""
    logs = (pytester.path / "run").glob("shards/*/logs/*.log")
    return {log.stem: log.read_text().count("loading") for log in logs}


def test_an_engine_is_loaded_once_and_agrees_with_itself(
    engine: Run, pytester: pytest.Pytester, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    result = engine("--shard", "p")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=18)
    result.stdout.fnmatch_lines(["[[]tiny-model tiny_engine] 3/3 *: match"])
    assert loads(pytester) == {"tiny-model-reference": 1, "tiny-model-tiny_engine": 1}
    folder = pytester.path / "run" / "shards" / "p"
    assert len(list(folder.glob("media/*/*.png"))) == 3
    shard = read_record(folder / "shard.json", Shard)
    assert shard.models["tiny-model"].source == "tiny model"
    assert set(shard.seconds) == {
        "diff", *(f"tiny-model/{side}/{what}" for side in ("reference", "tiny_engine")
        for what in ("load", "capture")),
    }  # fmt: skip
    assert not list(folder.glob(f"traces/**/{ARRAY_FILE}"))
    sketches = folder.glob(f"traces/tiny-model/reference/*/{SKETCH_FILE}")
    assert sorted(path.parent.name for path in sketches) == ["one_video", "text_only", "two_images"]


def test_a_fault_of_the_engine_is_found_and_judged_again_without_it(
    engine: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = ("--engine-arg", "wrong logit two_images=true")
    first = engine("--keep-logits", *fault)
    assert failures(first) == ["test_prefill[tiny-model-tiny_engine-two_images]"]
    (kept,) = (pytester.path / "run").glob("shards/*/traces/tiny-model")
    assert sorted(side.name for side in kept.iterdir()) == ["reference", "tiny_engine"]
    assert (kept / "reference" / "two_images" / ARRAY_FILE).exists()
    monkeypatch.setattr(
        "vlm_parity.session.engine_runner.run_capture", lambda *_: pytest.fail("no engine is needed")
    )
    again = engine("--rejudge", "run", "--run", "again")
    assert failures(again) == failures(first)
    messages = [
        load_run(pytester.path / run).verdicts[0].verdict.stage("prefill") for run in ("run", "again")
    ]
    assert messages[0] == messages[1]


def test_each_case_fails_or_is_skipped_alone_and_in_the_engines_own_words(engine: Run) -> None:
    orders = ("inputs two_images=die", "outputs text_only=raise", "inputs one_video=say no")
    result = engine(*(word for order in orders for word in ("--engine-arg", order)))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    crashed = [f"test_{name}[tiny-model-tiny_engine-two_images]" for name in EVERY_QUESTION]
    raised = [f"test_{name}[tiny-model-tiny_engine-text_only]" for name in QUESTIONS["logits"]]
    assert set(failures(result)) == {*crashed, *raised}
    result.assert_outcomes(passed=3, failed=9, skipped=6)
    result.stdout.fnmatch_lines(["crash: the process was killed by SIGKILL; its last lines:"])
    result.stdout.fnmatch_lines(["error: ValueError: cannot do outputs text_only"])
    result.stdout.fnmatch_lines(["SKIPPED * unsupported: inputs one_video: not served"])


def test_what_is_not_served_lets_a_run_pass(engine: Run) -> None:
    result = engine("--engine-arg", "inputs one_video=say no")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*This run passes."])


@pytest.mark.usefixtures("engine")
def test_an_entry_is_of_no_use_only_where_everything_was_asked_for(
    parity: Run, known_issues: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_issues.write_text(LEDGER.replace("vllm", "tiny_engine").replace("two_images", "renamed"))
    model = str(pytester.path / "tiny model")
    monkeypatch.setattr("vlm_parity.pytest_plugin.collection.get_models", lambda *_: [model])
    everything = ("--backend", "tiny_engine", "--shard", "p")
    for less in (("--case", "two_images"), ("--model", model), ("-m", "parity_text")):
        parity(*everything, *less).stdout.no_fnmatch_line("*applied to no comparison*")
    for whole in ((), ("-k", "tiny")):
        result = parity(*everything, *whole)
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["Known issue shift applied to no comparison: *"])


def test_a_model_that_is_not_there_is_looked_for_once_and_told_without_a_traceback(
    engine: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "vlm_parity.session.checkpoints.resolve_model",
        lambda spec, **_: asked.append(spec) or resolve_model(spec),
    )
    result = engine("--model", "no_such_model", "-k", "no_such_model and spans")
    assert failures(result) == [
        f"test_spans[no_such_model-tiny_engine-{case}]" for case in ("one_video", "text_only", "two_images")
    ]
    assert asked == ["no_such_model"]
    result.stdout.fnmatch_lines(["'no_such_model' is no family (qwen2_vl, *), no existing folder, *"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_medium_that_cannot_be_read_is_wrong_use(engine: Run, pytester: pytest.Pytester) -> None:
    path = pytester.path / "cases" / "conversations" / "broken.yaml"
    path.write_text("summary: s\nmessages: [{role: user, content: [{image: {file: missing.png}}]}]\n")
    result = engine()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "case broken, image 0 (" in text
    assert "Traceback" not in text


def test_each_variant_is_an_engine_load_of_its_own(engine: Run, pytester: pytest.Pytester) -> None:
    result = engine(*EVERY_SETUP, "--keep-logits", "--case", "two_images", "--case", "text_only")
    assert result.ret == pytest.ExitCode.OK
    assert {name: count for name, count in loads(pytester).items() if "reference" not in name} == {
        "tiny-model-tiny_engine": 1, "tiny-model-tiny_engine-prefix_cached": 1, "tiny-model-tiny_engine-picky": 1,
    }  # fmt: skip
    run = load_run(pytester.path / "run")
    verdicts = {(entry.verdict.label, entry.verdict.case): entry.verdict for entry in run.verdicts}
    assert len(verdicts) == 8  # an entry point shares the engine
    cached = verdicts["tiny_engine-prefix_cached", "two_images"]
    length = len(cached.reference.input_ids or ())
    assert cached.stage("prefill").metrics["positions"] == 1
    assert cached.stage("prefill").metrics["cached_tokens"] == length - 1
    assert cached.tested.mode_note == f"{length - 1} cached"
    picky = verdicts["tiny_engine-picky", "text_only"]
    assert picky.stage("prefill").message == "tiny_engine: there is no image"
    assert picky.stage("input_ids").status == "match"


@pytest.fixture
def with_largest(parity: Run, pytester: pytest.Pytester) -> None:
    """Two more cases: the largest picture of the engine, and its largest video, which it has not."""
    folder = pytester.path / "cases"
    for name in ("max_size_image", "max_size_video"):
        shutil.copy(CASES / "conversations" / f"{name}.yaml", folder / "conversations")
    (folder / "test_asked_for_largest.py").write_text(
        "import pytest\npytestmark = pytest.mark.parity_tokens\n"
        "def test_reserved(parity_comparison): parity_comparison.check('encoder_budget')\n"
    )


@pytest.mark.usefixtures("with_largest")
def test_an_engine_is_asked_for_its_largest_media_first(engine: Run, pytester: pytest.Pytester) -> None:
    result = engine("--case", "max_size_*", "--case", "text_only", "--keep-logits")
    assert result.ret == pytest.ExitCode.OK
    assert loads(pytester) == {"tiny-model-reference": 2, "tiny-model-tiny_engine": 1}
    found = {entry.verdict.case: entry.verdict for entry in load_run(pytester.path / "run").verdicts}
    image, video = found["max_size_image"], found["max_size_video"]
    assert (image.kind, image.stage("encoder_budget").metrics) == (
        VerdictKind.MATCH,
        {"encoder_budget": 3, "actual": 3},
    )
    assert image.reference.case_digest == image.tested.case_digest
    assert (video.kind, video.reason) == (
        VerdictKind.UNSUPPORTED,
        "tiny_engine does not report an encoder budget for video",
    )
    assert video.reference.message == "not asked: which video is the largest, only the engine can say"
    assert found["text_only"].stage("encoder_budget").message == ("the case has no max_size medium")


@pytest.mark.usefixtures("with_largest")
def test_another_number_reserved_is_a_mismatch_whoever_judges_it(
    engine: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = ("--case", "max_size_image", "--depth", "tokens")
    first = engine(*large, "--engine-arg", "wrong encoder_budget=true", "--keep-logits")
    assert failures(first) == ["test_reserved[tiny-model-tiny_engine-max_size_image]"]
    page = next((pytester.path / "run").glob("cases/*.html")).read_text()
    assert "the largest image of the encoder budget: 12 x 8" in page
    monkeypatch.setattr(
        "vlm_parity.session.engine_runner.run_capture", lambda *_: pytest.fail("no engine is needed")
    )
    assert failures(engine(*large, "--rejudge", "run", "--run", "again")) == failures(first)


def test_ways_in_share_an_engine_and_are_judged_each(engine: Run, pytester: pytest.Pytester) -> None:
    entry_points = (
        "--entry-point",
        "text",
        "--entry-point",
        "chat",
        "--depth",
        "tokens",
        "--case",
        "two_images",
    )
    result = engine(*entry_points, "--engine-arg", "wrong id two_images by text=true")
    assert failures(result) == ["test_input_ids[tiny-model-tiny_engine-text-two_images]"]
    assert loads(pytester)["tiny-model-tiny_engine"] == 1
    run = load_run(pytester.path / "run")
    verdicts = {entry.verdict.entry_point: entry.verdict for entry in run.verdicts}
    assert {entry_point: str(verdict.kind) for entry_point, verdict in verdicts.items()} == {
        "chat": "match", "text": "mismatch",
    }  # fmt: skip
    assert "--entry-point text --case two_images" in verdicts["text"].reproduce
    assert "--entry-point" not in verdicts["chat"].reproduce


def test_a_way_in_that_a_backend_lacks_says_so(engine: Run, pytester: pytest.Pytester) -> None:
    result = engine("--backend", "vllm", "--entry-point", "token_ids", "--entry-point", "chat", "--case", "text_only",
                    "-k", "tiny_engine")  # fmt: skip
    assert result.ret == pytest.ExitCode.OK
    kinds = {
        entry.verdict.entry_point: entry.verdict.kind for entry in load_run(pytester.path / "run").verdicts
    }
    assert kinds == {"chat": VerdictKind.MATCH, "token_ids": VerdictKind.UNSUPPORTED}


def test_a_variant_that_a_backend_lacks_is_not_dropped(
    engine: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlm_parity.pytest_plugin.setup_options.list_modes", lambda _: ["upside_down"])
    result = engine("--mode", "upside_down", "--case", "text_only", "--shard", "p")
    assert result.ret == pytest.ExitCode.TESTS_FAILED  # it compared nothing
    (entry,) = load_run(pytester.path / "run").verdicts
    assert (entry.verdict.kind, entry.verdict.mode) == (VerdictKind.UNSUPPORTED, "upside_down")
    assert entry.verdict.reason == (
        "tiny_engine has no mode upside_down in this harness; its modes: default, prefix_cached, picky"
    )
    assert (
        "loading"
        not in (
            pytester.path / "run" / "shards" / "p" / "logs" / "tiny-model-tiny_engine-upside_down.log"
        ).read_text()
    )


def test_reproducing_needs_what_was_not_the_default(engine: Run, pytester: pytest.Pytester) -> None:
    engine("--dtype", "bfloat16", "--engine-arg", "a=[1, 2]", "--case", "text_only")
    (entry,) = load_run(pytester.path / "run").verdicts
    assert entry.verdict.reproduce == (
        "parity run --depth logits --dtype bfloat16 --engine-arg 'a=[1, 2]' "
        f"--backend tiny_engine --model '{pytester.path / 'tiny model'}' --case text_only"
    )
    assert entry.verdict.tested.environment.dtype == "bfloat16"
    assert entry.verdict.tested.environment.settings == {"orders": "{'a': [1, 2]}"}
    assert entry.verdict.reference.environment.dtype == "float32"


def test_a_run_folder_of_others_is_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    pytester.mkdir("run")
    pytester.path.joinpath("run", "shards").mkdir()
    result = pytester.runpytest_inprocess(*QUICK, "--parity-run", "run")
    assert result.ret == pytest.ExitCode.OK
    assert not pytester.path.joinpath("run", "index.html").exists()
