"""The worker: the results, refusals and exceptions of an engine become traces and responses."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from safetensors.numpy import load_file

from tests.support.checkpoints import write_checkpoint
from vlm_parity.backends.base import Backend, Settings
from vlm_parity.capture import worker
from vlm_parity.capture.protocol import CaptureRequest, LoadRequest, Response
from vlm_parity.capture.worker import serve_requests
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.content import compute_content
from vlm_parity.schema.array_sketch import SKETCH_FILE, read_sketch
from vlm_parity.schema.case import Case
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.max_media import replace_max_media
from vlm_parity.schema.media_source import ImageRecipe
from vlm_parity.schema.noise_floor import read_noise_floor
from vlm_parity.schema.trace import ARRAY_FILE, MediaInput, Outcome, Span, Stage, Trace, read_trace

IMAGE = {"image": {"pattern": "gradient", "size": [8, 8]}}


def make_case(name: str = "one", *content: dict[str, Any], **changes: Any) -> Case:
    messages = [{"role": "user", "content": content or ({"text": "Hi"},)}]
    return Case.model_validate({"name": name, "summary": "s", "messages": messages, **changes})


class Worker:
    """Serves requests in this process, as a child does."""

    def __init__(self, backend: str, folder: Path, **settings: Any) -> None:
        self.folder, self.is_reference = folder, True
        checkpoint = Checkpoint("tiny", "tiny", folder, "synthetic", "d")
        self._load_request = LoadRequest.of(backend, checkpoint, Settings(**settings))

    def serve(self, *cases: Case, **fields: Any) -> list[Response]:
        return list(
            serve_requests(
                LoadRequest.model_validate_json(self._load_request.model_dump_json()),
                self._encode_requests(cases, fields),
            )
        )

    def _encode_requests(self, cases: tuple[Case, ...], fields: dict[str, Any]) -> Iterator[bytes]:
        for case in cases:
            folder = self.folder / case.name
            request = {
                "case": case,
                "case_folder": case.folder,
                "folder": folder,
                "is_reference": True,
                **fields,
            }
            yield CaptureRequest.model_validate(request).model_dump_json().encode()

    def trace(self, case: Case, **fields: Any) -> Trace:
        """Capture one case and return its trace."""
        self.serve(case, **fields)
        return read_trace(self.folder / case.name)


@pytest.fixture
def start(tiny_engine: str, tmp_path: Path) -> Any:
    """Return a function that builds a worker from engine arguments and settings."""

    def build(engine_args: dict[str, Any] | None = None, **settings: Any) -> Worker:
        return Worker(tiny_engine, tmp_path, engine_args=engine_args or {}, **settings)

    return build


def test_a_trace_holds_the_inputs_and_outputs_of_the_engine(start: Any, tmp_path: Path) -> None:
    case = make_case("one", {"text": "Hi"}, IMAGE, {"text": "?"}, max_new_tokens=4)
    trace = start().trace(case)
    assert (trace.case, trace.case_digest) == ("one", case.digest())
    assert (trace.model, trace.backend, trace.depth) == ("tiny", "tiny_engine", Depth.LOGITS)
    assert (trace.outcome, trace.message) == (Outcome.CAPTURED, "")
    assert (trace.prompt, trace.input_ids) == ("Hi<image>?", (72, 105, 255, 255, 255, 63))
    assert trace.spans == (Span.of("image", 0, [2, 3, 4]),)
    assert trace.continuation == trace.greedy
    assert len(trace.greedy or ()) == 4
    tensors = load_file(tmp_path / "one" / ARRAY_FILE)
    assert {name: array.shape for name, array in tensors.items()} == {
        "media.image.0.pixel_values": (3, 2),
        "prefill": (6, 256),
        "decode": (3, 256),
    }
    assert trace.media == (
        MediaInput(modality="image", item=0, fields={"grid": (1, 1, 3)}, arrays=("pixel_values",)),
    )
    assert set(trace.seconds) == {"inputs", "outputs"}


def test_the_reference_writes_a_sketch_of_its_arrays(start: Any, tmp_path: Path) -> None:
    start().trace(make_case())
    assert read_sketch(tmp_path / "one").arrays["prefill"].shape == (2, 256)
    start().trace(make_case("two"), is_reference=False, continuation=(1, 2, 3))
    assert not (tmp_path / "two" / SKETCH_FILE).exists()


def test_a_trace_describes_its_environment(start: Any) -> None:
    environment = start({"an": "argument"}, dtype="bfloat16").trace(make_case()).environment
    assert (environment.device, environment.dtype) == ("cpu", "bfloat16")
    assert environment.packages == {"numpy": np.__version__}
    assert environment.workarounds == ("outputs from numpy",)
    assert environment.settings == {"orders": "{'an': 'argument'}"}


def test_the_vocabulary_covers_all_ids_that_a_report_may_name(start: Any, tmp_path: Path) -> None:
    trace = start().trace(make_case())
    rows = np.concatenate(list(load_file(tmp_path / "one" / ARRAY_FILE).values()))
    likely = np.argsort(-rows, axis=1)[:, :5]
    named = {*(trace.input_ids or ()), *(trace.greedy or ()), *likely.ravel().tolist()}
    assert trace.vocabulary == {token: chr(token) for token in named}


def test_decode_follows_the_tokens_of_the_reference(start: Any) -> None:
    trace = start().trace(make_case(max_new_tokens=3), is_reference=False, continuation=(1, 2, 3))
    assert trace.continuation == (1, 2, 3)
    assert trace.greedy != (1, 2, 3)


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        pytest.param({"depth": Depth.TOKENS}, {}, id="depth tokens"),
        pytest.param({}, {"is_reference": False}, id="no continuation"),
    ],
)
def test_the_engine_does_not_run_if_nothing_would_be_compared(
    start: Any, settings: dict[str, Any], fields: dict[str, Any], tmp_path: Path
) -> None:
    trace = start({"outputs one": "raise"}, **settings).trace(make_case(), **fields)
    assert trace.outcome is Outcome.CAPTURED
    assert trace.input_ids
    assert trace.greedy is None
    assert not (tmp_path / "one" / ARRAY_FILE).exists()


@pytest.mark.parametrize(
    ("order", "outcome", "message"),
    [
        ({"inputs one": "raise"}, Outcome.REFUSED, "ValueError: cannot do inputs one"),
        ({"inputs one": "say no"}, Outcome.UNSUPPORTED, "inputs one: not served"),
        ({"outputs one": "raise"}, Outcome.ERROR, "ValueError: cannot do outputs one"),
        ({"outputs one": "say no"}, Outcome.UNSUPPORTED, "outputs one: not served"),
        ({"outputs one": "engine dies"}, Outcome.CRASH, "its inner process is gone"),
    ],
)
def test_an_exception_of_the_engine_is_an_outcome(
    start: Any, order: dict[str, str], outcome: Outcome, message: str
) -> None:
    trace = start(order).trace(make_case())
    assert (trace.outcome, trace.message) == (outcome, message)


def test_an_error_of_the_engine_keeps_the_frontend_results(start: Any) -> None:
    trace = start({"outputs one": "raise"}).trace(make_case())
    assert (trace.prompt, trace.input_ids, trace.greedy) == ("Hi", (72, 105), None)


HARNESS_FRAME = "  vlm_parity/schema/trace.py, line "


@pytest.mark.parametrize("moment", ["inputs one", "outputs one"])
def test_an_exception_in_the_harness_is_not_the_engines(start: Any, moment: str) -> None:
    trace = start({moment: "confuse the harness"}).trace(make_case())
    assert trace.outcome is Outcome.HARNESS_ERROR
    first, *frames = trace.message.splitlines()
    assert first.startswith("TypeError: '<' not supported")
    assert any(line.startswith(HARNESS_FRAME) and line.endswith(", in of") for line in frames)


@pytest.mark.parametrize("moment", ["inputs one", "outputs one"])
def test_a_moved_name_is_not_a_failure_of_the_engine(start: Any, moment: str) -> None:
    trace = start({moment: "move a name"}).trace(make_case())
    assert trace.outcome is Outcome.HARNESS_ERROR
    assert trace.message.startswith(
        "the harness does not fit this version of the engine: "
        "PrivateApiChangedError: tiny_engine.forward is gone\n"
    )


@pytest.mark.parametrize("order", ["confuse the harness", "move a name"])
def test_a_load_can_fail_in_the_harness(start: Any, order: str) -> None:
    (response,) = start({"load": order}).serve(make_case())
    assert (response.outcome, response.is_last) == (Outcome.HARNESS_ERROR, True)


def test_a_result_of_an_odd_form_costs_one_case_and_no_child(start: Any) -> None:
    responses = start({"odd media one": "yes"}).serve(make_case("one"), make_case("two"))
    assert [(response.case, response.outcome) for response in responses[1:]] == [
        ("one", Outcome.HARNESS_ERROR),
        ("two", Outcome.CAPTURED),
    ]
    assert "in _record_media" in responses[1].message


def test_a_fault_that_cannot_be_injected_is_a_failure_of_the_harness(start: Any, tmp_path: Path) -> None:
    start().serve(make_case(), fault={"target": "vlm_parity.selfcheck.registry:nothing", "name": "n"})
    trace = read_trace(tmp_path / "one")
    assert trace.outcome is Outcome.HARNESS_ERROR
    assert trace.message.startswith("AttributeError: ")


def test_a_noise_floor_that_the_harness_cannot_measure_is_not_the_references(
    start: Any, tmp_path: Path
) -> None:
    trace = start({"samples one": "confuse the harness"}).trace(make_case(), floor="float32")
    assert trace.outcome is Outcome.HARNESS_ERROR
    assert read_noise_floor(tmp_path / "one", "float32") is None
    assert not (tmp_path / "one" / ARRAY_FILE).exists()


def test_a_trace_that_cannot_be_written_is_a_failure_of_the_harness(start: Any, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("in the way")
    _, response = start().serve(make_case())
    assert response.outcome is Outcome.HARNESS_ERROR
    assert "Error: " in response.message


def test_an_unreadable_medium_is_no_refusal(start: Any, tmp_path: Path) -> None:
    """It never reached the engine."""
    (tmp_path / "broken.png").write_bytes(b"no image")
    trace = start().trace(make_case("one", {"image": {"file": "broken.png"}}, folder=tmp_path))
    assert trace.outcome is Outcome.INVALID
    assert trace.message.startswith("case one, image 0 (")
    assert "broken.png): no image in one of the formats PNG, " in trace.message


def test_media_are_found_in_the_folder_of_the_case(start: Any, tmp_path: Path) -> None:
    PIL.Image.new("RGB", (1, 1)).save(tmp_path / "a.png")
    case = make_case("one", {"image": {"file": "a.png"}}, folder=tmp_path)
    assert start().trace(case).spans == (Span.of("image", 0, [0, 1, 2]),)


def test_media_are_found_in_a_media_root(start: Any, tmp_path: Path) -> None:
    root, folder = tmp_path / "shared", tmp_path / "cases"
    for path in (root, folder):
        path.mkdir()
    PIL.Image.new("RGB", (1, 1)).save(root / "a.png")
    case = make_case("one", {"image": {"file": "../shared/a.png"}}, folder=folder)
    trace = start().trace(case.model_copy(update={"media_roots": (root,)}), media_roots=(root,))
    assert trace.spans == (Span.of("image", 0, [0, 1, 2]),)


def test_one_response_to_the_load_and_one_to_each_case(start: Any) -> None:
    responses = start({"inputs two": "raise"}).serve(make_case("one"), make_case("two"), make_case("three"))
    assert [(response.case, response.outcome) for response in responses] == [
        (None, Outcome.CAPTURED),
        ("one", Outcome.CAPTURED),
        ("two", Outcome.REFUSED),
        ("three", Outcome.CAPTURED),
    ]
    assert responses[2].message == "ValueError: cannot do inputs two"
    assert all(response.seconds > 0 for response in responses)


def test_the_engine_is_closed_at_the_end(start: Any, capsys: pytest.CaptureFixture[str]) -> None:
    start().serve(make_case())
    assert capsys.readouterr().out.endswith("closing\n")


@pytest.mark.parametrize(
    ("order", "outcome", "message"),
    [
        ("raise", Outcome.ERROR, "ValueError: cannot do load"),
        ("say no", Outcome.UNSUPPORTED, "load: not served"),
    ],
)
def test_no_case_is_captured_after_a_failed_load(
    start: Any, order: str, outcome: Outcome, message: str
) -> None:
    (response,) = start({"load": order}).serve(make_case("one"), make_case("two"))
    assert (response.case, response.outcome, response.message) == (None, outcome, message)


@pytest.mark.parametrize("engine_args", [{}, {"load": "raise"}])
def test_no_case_is_captured_from_files_that_changed_since_the_session_began(
    tiny_engine: str, tmp_path: Path, engine_args: dict[str, str]
) -> None:
    folder = write_checkpoint(tmp_path / "model", model_type="tiny")
    checkpoint = Checkpoint("tiny", "tiny", folder, "model", "d", content=compute_content(folder))
    (folder / "tokenizer.json").unlink()
    load = LoadRequest.of(tiny_engine, checkpoint, Settings(engine_args=engine_args))
    (response,) = serve_requests(load, iter([b"no request is read"]))
    assert response.outcome is Outcome.INVALID
    assert f"the files of tiny in {folder} changed during the session" in response.message


def test_no_case_is_captured_after_a_crash(start: Any) -> None:
    responses = start({"inputs one": "engine dies"}).serve(make_case("one"), make_case("two"))
    assert [(response.case, response.outcome) for response in responses[1:]] == [("one", Outcome.CRASH)]


@contextmanager
def announce(backend: Backend, name: str) -> Iterator[None]:
    sys.stdout.write(f"{name} in {backend.name}\n")
    yield
    sys.stdout.write(f"{name} removed\n")


def test_a_fault_is_active_during_its_case_only(start: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fault = {"target": f"{__name__}:announce", "name": "image rotated"}
    start({"inputs one": "say"}).serve(make_case(), fault=fault)
    printed = capsys.readouterr().out.splitlines()
    assert printed[1:] == [
        "image rotated in tiny_engine",
        "say at inputs one",
        "image rotated removed",
        "closing",
    ]


def test_tracebacks_are_printed(start: Any, capsys: pytest.CaptureFixture[str]) -> None:
    start({"outputs one": "raise"}).serve(make_case())
    assert "tiny_engine.py" in capsys.readouterr().err


def test_the_protocol_carries_settings_and_checkpoint(tmp_path: Path) -> None:
    settings = Settings(depth=Depth.TOKENS, max_length=5, engine_args={"a": [1, {"b": None}]})
    checkpoint = Checkpoint("n", "f", tmp_path, "s", "d", trust_remote_code=True)
    received = LoadRequest.model_validate(
        json.loads(LoadRequest.of("vllm", checkpoint, settings).model_dump_json())
    )
    assert (received.backend, received.settings, received.checkpoint) == ("vllm", settings, checkpoint)


def test_the_noise_floor_is_written_next_to_the_trace(start: Any, tmp_path: Path) -> None:
    start().trace(make_case(max_new_tokens=3), floor="bfloat16")
    floor = read_noise_floor(tmp_path / "one", "bfloat16")
    assert floor is not None
    assert floor.record.samples == ("seed 0", "seed 1")
    assert floor.record.dtype == "bfloat16"
    prefill, decode = (floor.stages[stage] for stage in (Stage.PREFILL, Stage.DECODE))
    assert (prefill.rms.shape, decode.rms.shape) == ((2, len("Hi")), (2, 2))
    # The samples of the tiny engine are its outputs plus noise of 1e-6.
    np.testing.assert_allclose(prefill.rms, 1e-6, rtol=0.2)
    assert (prefill.largest > prefill.rms).all()


def test_values_that_a_frontend_cannot_be_given_make_the_case_unsupported(start: Any, tmp_path: Path) -> None:
    served = start(depth=Depth.TOKENS)
    served.serve(make_case("reference"))
    given = {"condition": Condition.MEDIA, "reference_folder": tmp_path / "reference", "is_reference": False}
    trace = served.trace(make_case(), **given)
    assert (trace.outcome, trace.condition) == (Outcome.UNSUPPORTED, Condition.MEDIA)
    assert trace.message == "the reference has no ids, spans or positions to give"


def test_the_engine_does_not_run_for_a_case_at_depth_tokens(start: Any, tmp_path: Path) -> None:
    trace = start().trace(make_case(depth="tokens"), floor="bfloat16")
    assert (trace.outcome, trace.depth) == (Outcome.CAPTURED, Depth.TOKENS)
    assert trace.input_ids is not None
    assert (trace.continuation, trace.greedy) == (None, None)
    assert read_noise_floor(tmp_path / "one", "bfloat16") is None


def test_adding_a_noise_floor_keeps_the_trace(start: Any, tmp_path: Path) -> None:
    written = start().trace(make_case())
    assert start().trace(make_case(), floor="float32", floor_only=True) == written
    assert read_noise_floor(tmp_path / "one", "float32") is not None


def test_a_failed_noise_floor_records_the_error(start: Any, tmp_path: Path) -> None:
    assert start({"samples one": "raise"}).trace(make_case(), floor="float32").outcome is Outcome.CAPTURED
    floor = read_noise_floor(tmp_path / "one", "float32")
    assert floor is not None
    assert floor.record.problem == "ValueError: cannot do samples one"


def make_max_size_case(modality: str) -> Case:
    return make_case("large", {modality: {"max_size": True}}, depth="tokens")


def test_the_largest_medium_of_the_engine_is_captured(start: Any) -> None:
    trace = start().trace(make_max_size_case("image"), is_reference=False, uses_max_media=True)
    assert trace.encoder_budget is not None
    assert (trace.encoder_budget.tokens, trace.encoder_budget.medium) == (
        3,
        ImageRecipe(pattern="plain", size=(12, 8)),
    )
    assert trace.case_digest == replace_max_media(make_max_size_case("image"), trace.encoder_budget).digest()
    assert trace.spans == (Span.of("image", 0, [0, 1, 2]),)
    assert set(trace.seconds) == {"encoder_budget", "inputs"}


def test_an_engine_without_a_largest_medium_does_not_support_the_case(start: Any) -> None:
    trace = start().trace(make_max_size_case("video"), is_reference=False, uses_max_media=True)
    assert (trace.outcome, trace.encoder_budget) == (Outcome.UNSUPPORTED, None)
    assert trace.message == "tiny_engine does not report an encoder budget for video"
    assert trace.case_digest == make_max_size_case("video").digest()


def test_a_failure_to_determine_the_largest_medium_is_an_error(start: Any) -> None:
    trace = start({"encoder_budget": "raise"}).trace(
        make_max_size_case("image"), is_reference=False, uses_max_media=True
    )
    assert (trace.outcome, trace.message) == (Outcome.ERROR, "ValueError: cannot do encoder_budget")


def test_the_arrays_of_a_huge_medium_are_not_kept(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MAX_KEPT_VALUES", 10)
    trace = start().trace(make_max_size_case("image"), is_reference=False, uses_max_media=True)
    reason = "0 MiB of a largest medium are not kept; 0 would be"
    assert trace.not_captured[Stage.MEDIA] == reason
    assert [(medium.fields, medium.arrays) for medium in trace.media or ()] == [({"grid": (1, 1, 3)}, ())]
    assert not (tmp_path / "large" / ARRAY_FILE).exists()
    small = start().trace(make_case("small", IMAGE, depth="tokens"), is_reference=False)
    assert small.media is not None
    assert small.media[0].arrays == ("pixel_values",)
