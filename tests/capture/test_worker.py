"""The child's side: what an engine returns, refuses or raises becomes a trace and a reply."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from vlm_parity.backends.base import Backend, Settings
from vlm_parity.capture import worker
from vlm_parity.capture.protocol import CaptureRequest, LoadRequest, Response
from vlm_parity.capture.worker import serve_requests
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.array_sketch import SKETCH_FILE, read_sketch
from vlm_parity.schema.case import Case
from vlm_parity.schema.max_media import replace_max_media
from vlm_parity.schema.media_source import ImageRecipe
from vlm_parity.schema.noise_floor import read_noise_floor
from vlm_parity.schema.trace import ARRAY_FILE, Depth, MediaInput, Outcome, Span, Stage, Trace, read_trace

PICTURE = {"image": {"pattern": "gradient", "size": [8, 8]}}


def case(name: str = "one", *content: dict[str, Any], **changes: Any) -> Case:
    messages = [{"role": "user", "content": content or ({"text": "Hi"},)}]
    return Case.model_validate({"name": name, "summary": "s", "messages": messages, **changes})


class Worker:
    """Serves in this process what a child would."""

    def __init__(self, backend: str, folder: Path, **settings: Any) -> None:
        self.folder, self.is_reference = folder, True
        checkpoint = Checkpoint("tiny", "tiny", folder, "synthetic", "d")
        self._open = LoadRequest.of(backend, checkpoint, Settings(**settings))

    def serve(self, *cases: Case, **ask: Any) -> list[Response]:
        return list(
            serve_requests(
                LoadRequest.model_validate_json(self._open.model_dump_json()), self._lines(cases, ask)
            )
        )

    def _lines(self, cases: tuple[Case, ...], ask: dict[str, Any]) -> Iterator[bytes]:
        for each in cases:
            folder = self.folder / each.name
            asked = {"case": each, "case_folder": each.folder, "folder": folder, "is_reference": True, **ask}
            yield CaptureRequest.model_validate(asked).model_dump_json().encode()

    def trace(self, each: Case, **ask: Any) -> Trace:
        """The trace of one case."""
        self.serve(each, **ask)
        return read_trace(self.folder / each.name)


@pytest.fixture
def tell(tiny_engine: str, tmp_path: Path) -> Any:
    """Builds a worker whose engine is told something."""

    def build(engine_args: dict[str, Any] | None = None, **settings: Any) -> Worker:
        return Worker(tiny_engine, tmp_path, engine_args=engine_args or {}, **settings)

    return build


def test_a_trace_holds_all_that_the_engine_saw_and_answered(tell: Any, tmp_path: Path) -> None:
    asked = case("one", {"text": "Hi"}, PICTURE, {"text": "?"}, max_new_tokens=4)
    found = tell().trace(asked)
    assert (found.case, found.case_digest) == ("one", asked.digest())
    assert (found.model, found.backend, found.depth) == ("tiny", "tiny_engine", Depth.LOGITS)
    assert (found.outcome, found.message) == (Outcome.CAPTURED, "")
    assert (found.prompt, found.input_ids) == ("Hi<image>?", (72, 105, 255, 255, 255, 63))
    assert found.spans == (Span.of("image", 0, [2, 3, 4]),)
    assert found.continuation == found.greedy
    assert len(found.greedy or ()) == 4
    tensors = load_file(tmp_path / "one" / ARRAY_FILE)
    assert {name: array.shape for name, array in tensors.items()} == {
        "media.image.0.pixel_values": (3, 2),
        "prefill": (6, 256),
        "decode": (3, 256),
    }
    assert found.media == (
        MediaInput(modality="image", item=0, fields={"grid": (1, 1, 3)}, arrays=("pixel_values",)),
    )
    assert set(found.seconds) == {"inputs", "outputs"}


def test_the_reference_leaves_a_sketch_of_its_arrays(tell: Any, tmp_path: Path) -> None:
    tell().trace(case())
    assert read_sketch(tmp_path / "one").arrays["prefill"].shape == (2, 256)
    tell().trace(case("two"), is_reference=False, continuation=(1, 2, 3))
    assert not (tmp_path / "two" / SKETCH_FILE).exists()


def test_a_trace_knows_where_it_was_made(tell: Any) -> None:
    environment = tell({"an": "argument"}, dtype="bfloat16").trace(case()).environment
    assert (environment.device, environment.dtype) == ("cpu", "bfloat16")
    assert environment.packages == {"numpy": np.__version__}
    assert environment.workarounds == ("answers from numpy",)
    assert environment.settings == {"told": "{'an': 'argument'}"}


def test_the_vocabulary_has_the_texts_of_all_ids_that_a_report_may_name(tell: Any, tmp_path: Path) -> None:
    found = tell().trace(case())
    rows = np.concatenate(list(load_file(tmp_path / "one" / ARRAY_FILE).values()))
    likely = np.argsort(-rows, axis=1)[:, :5]
    named = {*(found.input_ids or ()), *(found.greedy or ()), *likely.ravel().tolist()}
    assert found.vocabulary == {token: chr(token) for token in named}


def test_decode_goes_along_the_tokens_of_the_reference(tell: Any) -> None:
    found = tell().trace(case(max_new_tokens=3), is_reference=False, continuation=(1, 2, 3))
    assert found.continuation == (1, 2, 3)
    assert found.greedy != (1, 2, 3)


@pytest.mark.parametrize(
    ("settings", "ask"),
    [
        pytest.param({"depth": Depth.TOKENS}, {}, id="at the depth of tokens"),
        pytest.param({}, {"is_reference": False}, id="without an answer to follow"),
    ],
)
def test_the_engine_is_not_run_where_nothing_would_be_compared(
    tell: Any, settings: dict[str, Any], ask: dict[str, Any], tmp_path: Path
) -> None:
    found = tell({"outputs one": "raise"}, **settings).trace(case(), **ask)
    assert found.outcome is Outcome.CAPTURED
    assert found.input_ids
    assert found.greedy is None
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
def test_what_the_engine_raises_is_an_outcome(
    tell: Any, order: dict[str, str], outcome: Outcome, message: str
) -> None:
    found = tell(order).trace(case())
    assert (found.outcome, found.message) == (outcome, message)


def test_what_the_front_end_gave_outlives_an_error_of_the_engine(tell: Any) -> None:
    found = tell({"outputs one": "raise"}).trace(case())
    assert (found.prompt, found.input_ids, found.greedy) == ("Hi", (72, 105), None)


def test_a_medium_that_cannot_be_read_is_no_refusal(tell: Any, tmp_path: Path) -> None:
    """The engine never saw it."""
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = tell().trace(case("one", {"image": {"file": "broken.png"}}, folder=tmp_path))
    assert found.outcome is Outcome.ERROR
    assert found.message.startswith("MediaError: case one, image 0 (")
    assert "broken.png): UnidentifiedImageError: " in found.message


def test_media_lie_beside_the_case(tell: Any, tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6 1 1 255 abc")
    asked = case("one", {"image": {"file": "a.ppm"}}, folder=tmp_path)
    assert tell().trace(asked).spans == (Span.of("image", 0, [0, 1, 2]),)


def test_one_reply_to_the_load_and_one_to_each_case(tell: Any) -> None:
    replies = tell({"inputs two": "raise"}).serve(case("one"), case("two"), case("three"))
    assert [(reply.case, reply.outcome) for reply in replies] == [
        (None, Outcome.CAPTURED),
        ("one", Outcome.CAPTURED),
        ("two", Outcome.REFUSED),
        ("three", Outcome.CAPTURED),
    ]
    assert replies[2].message == "ValueError: cannot do inputs two"
    assert all(reply.seconds > 0 for reply in replies)


def test_the_engine_is_closed_in_the_end(tell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    tell().serve(case())
    assert capsys.readouterr().out.endswith("closing\n")


@pytest.mark.parametrize(
    ("order", "outcome", "message"),
    [
        ("raise", Outcome.ERROR, "ValueError: cannot do load"),
        ("say no", Outcome.UNSUPPORTED, "load: not served"),
    ],
)
def test_after_a_load_that_failed_no_case_is_taken(
    tell: Any, order: str, outcome: Outcome, message: str
) -> None:
    (reply,) = tell({"load": order}).serve(case("one"), case("two"))
    assert (reply.case, reply.outcome, reply.message) == (None, outcome, message)


def test_a_dead_engine_takes_no_further_case(tell: Any) -> None:
    replies = tell({"inputs one": "engine dies"}).serve(case("one"), case("two"))
    assert [(reply.case, reply.outcome) for reply in replies[1:]] == [("one", Outcome.CRASH)]


@contextmanager
def announce(backend: Backend, name: str) -> Iterator[None]:
    print(f"{name} in {backend.name}", flush=True)
    yield
    print(f"{name} removed", flush=True)


def test_a_fault_is_active_during_its_case_only(tell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fault = {"target": f"{__name__}:announce", "name": "image rotated"}
    tell({"inputs one": "say"}).serve(case(), fault=fault)
    printed = capsys.readouterr().out.splitlines()
    assert printed[1:] == [
        "image rotated in tiny_engine",
        "say at inputs one",
        "image rotated removed",
        "closing",
    ]


def test_a_traceback_goes_to_the_log(tell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    tell({"outputs one": "raise"}).serve(case())
    assert "tiny_engine.py" in capsys.readouterr().err


def test_the_protocol_carries_settings_and_checkpoint(tmp_path: Path) -> None:
    settings = Settings(depth=Depth.TOKENS, max_length=5, engine_args={"a": [1, {"b": None}]})
    checkpoint = Checkpoint("n", "f", tmp_path, "s", "d", trust_remote_code=True)
    sent = LoadRequest.model_validate(
        json.loads(LoadRequest.of("vllm", checkpoint, settings).model_dump_json())
    )
    assert (sent.backend, sent.settings, sent.checkpoint) == ("vllm", settings, checkpoint)


def test_the_noise_floor_lies_beside_the_references_trace(tell: Any, tmp_path: Path) -> None:
    tell().trace(case(max_new_tokens=3), floor="bfloat16")
    floor = read_noise_floor(tmp_path / "one", "bfloat16")
    assert floor is not None
    assert floor.record.samples == ("seed 0", "seed 1")
    assert floor.record.dtype == "bfloat16"
    prefill, decode = (floor.stages[stage] for stage in (Stage.PREFILL, Stage.DECODE))
    assert (prefill.rms.shape, decode.rms.shape) == ((2, len("Hi")), (2, 2))
    # The tiny engine's samples are its answers plus noise of 1e-6.
    np.testing.assert_allclose(prefill.rms, 1e-6, rtol=0.2)
    assert (prefill.largest > prefill.rms).all()


def test_a_case_about_what_is_fed_is_not_answered(tell: Any, tmp_path: Path) -> None:
    found = tell().trace(case(depth="tokens"), floor="bfloat16")
    assert (found.outcome, found.depth) == (Outcome.CAPTURED, Depth.TOKENS)
    assert found.input_ids is not None
    assert (found.continuation, found.greedy) == (None, None)
    assert read_noise_floor(tmp_path / "one", "bfloat16") is None


def test_a_floor_alone_leaves_the_trace_as_it_was(tell: Any, tmp_path: Path) -> None:
    written = tell().trace(case())
    assert tell().trace(case(), floor="float32", floor_only=True) == written
    assert read_noise_floor(tmp_path / "one", "float32") is not None


def test_a_floor_that_cannot_be_measured_says_why(tell: Any, tmp_path: Path) -> None:
    assert tell({"samples one": "raise"}).trace(case(), floor="float32").outcome is Outcome.CAPTURED
    floor = read_noise_floor(tmp_path / "one", "float32")
    assert floor is not None
    assert floor.record.problem == "ValueError: cannot do samples one"


def largest(modality: str) -> Case:
    return case("large", {modality: {"max_size": True}}, depth="tokens")


def test_an_engine_names_its_largest_medium_and_is_asked_about_that(tell: Any) -> None:
    found = tell().trace(largest("image"), is_reference=False, uses_max_media=True)
    assert found.encoder_budget is not None
    assert (found.encoder_budget.tokens, found.encoder_budget.medium) == (
        3,
        ImageRecipe(pattern="plain", size=(12, 8)),
    )
    assert found.case_digest == replace_max_media(largest("image"), found.encoder_budget).digest()
    assert found.spans == (Span.of("image", 0, [0, 1, 2]),)
    assert set(found.seconds) == {"encoder_budget", "inputs"}


def test_an_engine_that_names_none_does_not_serve_the_case(tell: Any) -> None:
    found = tell().trace(largest("video"), is_reference=False, uses_max_media=True)
    assert (found.outcome, found.encoder_budget) == (Outcome.UNSUPPORTED, None)
    assert found.message == "tiny_engine names no largest video that it reserves for"
    assert found.case_digest == largest("video").digest()


def test_an_engine_that_fails_to_name_it_has_failed_not_refused(tell: Any) -> None:
    found = tell({"largest": "raise"}).trace(largest("image"), is_reference=False, uses_max_media=True)
    assert (found.outcome, found.message) == (Outcome.ERROR, "ValueError: cannot do largest")


def test_the_values_of_a_huge_medium_are_not_kept(
    tell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MAX_KEPT_VALUES", 10)
    found = tell().trace(largest("image"), is_reference=False, uses_max_media=True)
    assert found.not_captured == {Stage.MEDIA: "0 MiB of a largest medium are not kept; 0 would be"}
    assert [(medium.fields, medium.arrays) for medium in found.media or ()] == [({"grid": (1, 1, 3)}, ())]
    assert not (tmp_path / "large" / ARRAY_FILE).exists()
    small = tell().trace(case("small", PICTURE, depth="tokens"), is_reference=False)
    assert small.media is not None
    assert small.media[0].arrays == ("pixel_values",)
