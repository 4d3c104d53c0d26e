"""The child process: loads one engine, captures one case after the other.

Run as ``python -m vlm_parity.capture.worker FD``: messages come in on standard input, replies go out
on the file descriptor. What the engine prints goes where the parent pointed the standard streams.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module

from vlm_parity.backends.base import Backend, Dtype, Inputs, ReferenceBackend, Request
from vlm_parity.backends.registry import backend_class_at
from vlm_parity.capture.build_trace import build_trace, collect_arrays, drop_large_arrays, effective_depth
from vlm_parity.capture.measure_noise import measure_noise_floor
from vlm_parity.capture.protocol import CaptureRequest, InjectedFault, LoadRequest, Response
from vlm_parity.capture.supported import check_entry_point, check_mode
from vlm_parity.media.load import load_media
from vlm_parity.schema.array_sketch import sketch_arrays, write_sketch
from vlm_parity.schema.max_media import MAX_KEPT_VALUES, replace_max_media
from vlm_parity.schema.noise_floor import FloorRecord, NoiseFloor, get_floor_folder
from vlm_parity.schema.trace import Depth, Outcome, Stage, Trace, read_trace
from vlm_parity.schema.trace_arrays import open_arrays
from vlm_parity.util.errors import EngineCrashedError, EngineError, ModeNotApplicableError, UnsupportedError


def main(replies: int) -> None:
    """Serves one ``Open`` and any number of ``Ask`` until standard input ends."""
    os.set_inheritable(replies, False)
    with os.fdopen(replies, "w", encoding="utf-8") as out:
        lines = iter(sys.stdin)
        for reply in serve_requests(LoadRequest.model_validate_json(next(lines)), lines):
            out.write(reply.model_dump_json() + "\n")
            out.flush()


def serve_requests(first: LoadRequest, lines: Iterator[str]) -> Iterator[Response]:
    """Yields a reply to the load, then one to each case. Ends after a load that failed, and when the
    engine has died.
    """
    start = time.perf_counter()
    try:
        backend = backend_class_at(first.backend, first.entry_point)(first.settings)
        check_mode(backend)
        backend.load(first.checkpoint)
    except Exception as problem:
        seconds = time.perf_counter() - start
        traceback.print_exc()
        yield Response(
            outcome=_classify_outcome(problem, Outcome.ERROR), message=_format_error(problem), seconds=seconds
        )
        return
    yield Response(outcome=Outcome.CAPTURED, seconds=time.perf_counter() - start)
    for line in lines:
        ask = CaptureRequest.model_validate_json(line)
        start = time.perf_counter()
        with _inject_fault(backend, ask.fault):
            trace = read_trace(ask.folder) if ask.captured else capture_case(backend, first, ask)
        answered = trace.outcome is Outcome.CAPTURED and trace.depth is Depth.LOGITS
        if ask.floor is not None and answered:
            write_noise_floor(backend, trace, ask, ask.floor)
        seconds = time.perf_counter() - start
        yield Response(case=ask.case.name, outcome=trace.outcome, message=trace.message, seconds=seconds)
        if trace.outcome is Outcome.CRASH:
            return
    backend.close()


def capture_case(backend: Backend, opened: LoadRequest, ask: CaptureRequest) -> Trace:
    """Captures one case and writes its trace. What the engine refuses or raises is an outcome."""
    case = ask.case.model_copy(update={"folder": ask.case_folder})
    seconds: dict[str, float] = {}
    request = inputs = outputs = reserved = None
    outcome, message = Outcome.CAPTURED, ""
    missing: dict[Stage, str] = {}
    try:
        if case.max_size_modality is not None:
            with _Timer(seconds, "largest"):
                reserved = backend.measure_encoder_budget(case.max_size_modality)
            case = replace_max_media(case, reserved)
        batch_with = tuple(Request(other, load_media(other)) for other in ask.batch_with)
        request = Request(case, load_media(case), ask.entry_point, batch_with)
        check_entry_point(backend, request)
        with _Timer(seconds, "inputs"):
            inputs = backend.inputs(request)
        if ask.largest:
            inputs = drop_large_arrays(inputs, MAX_KEPT_VALUES)
        if effective_depth(opened, case) is Depth.LOGITS and (
            ask.is_reference or ask.continuation is not None
        ):
            with _Timer(seconds, "outputs"):
                outputs = backend.outputs(inputs, ask.continuation, case.max_new_tokens)
    except ModeNotApplicableError as problem:
        missing = dict.fromkeys(_engine_stages(inputs), str(problem))
    except EngineCrashedError as problem:
        outcome, message = Outcome.CRASH, str(problem)
        traceback.print_exc()
    except Exception as problem:
        outside = request is not None and inputs is None and not isinstance(problem, EngineError)
        failed = Outcome.REFUSED if outside else Outcome.ERROR
        outcome, message = _classify_outcome(problem, failed), _format_error(problem)
        traceback.print_exc()
    trace = build_trace(backend, opened, case, inputs, outputs)
    missing |= trace.not_captured
    trace = trace.model_copy(
        update={
            "mode": opened.mode,
            "entry_point": ask.entry_point,
            "encoder_budget": reserved,
            "outcome": outcome,
            "message": message,
            "seconds": seconds,
            "not_captured": missing,
        }
    )
    tensors = collect_arrays(inputs, outputs)
    if ask.is_reference and tensors:
        write_sketch(ask.folder, sketch_arrays(tensors))
    trace.write(ask.folder, tensors)
    return trace


def _inject_fault(backend: Backend, fault: InjectedFault | None) -> AbstractContextManager[None]:
    if fault is None:
        return nullcontext()
    module, _, function = fault.target.partition(":")
    injector: Callable[[Backend, str], AbstractContextManager[None]]
    injector = getattr(import_module(module), function)
    return injector(backend, fault.name)


def write_noise_floor(backend: Backend, trace: Trace, ask: CaptureRequest, dtype: Dtype) -> None:
    """Writes the noise floor in ``dtype`` beside the reference's trace, or why there is none."""
    assert isinstance(backend, ReferenceBackend)
    case = ask.case.model_copy(update={"folder": ask.case_folder})
    truth_dtype = trace.environment.dtype
    try:
        inputs = backend.inputs(Request(case, load_media(case)))
        samples = backend.samples(inputs, trace.continuation or (), dtype)
        with open_arrays(ask.folder) as truth:
            assert truth is not None
            floor = measure_noise_floor(samples, truth, trace.spans or (), truth_dtype, dtype)
    except Exception as problem:
        traceback.print_exc()
        floor = NoiseFloor(FloorRecord(truth=truth_dtype, dtype=dtype, problem=_format_error(problem)), {})
    floor.write(get_floor_folder(ask.folder, dtype))


def _engine_stages(inputs: Inputs | None) -> Iterator[Stage]:
    """The stages that come out of an engine's answer."""
    for stage in Stage:
        if stage.depth is Depth.LOGITS or (stage is Stage.POSITIONS and inputs and inputs.positions is None):
            yield stage


def _classify_outcome(problem: Exception, failed: Outcome) -> Outcome:
    return Outcome.UNSUPPORTED if isinstance(problem, UnsupportedError) else failed


def _format_error(problem: Exception) -> str:
    said, kind = str(problem), type(problem).__name__
    if isinstance(problem, UnsupportedError):
        return said
    return f"{kind}: {said}" if said else kind


class _Timer:
    """Adds the seconds spent in a block to ``seconds[name]``, also when it raises."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] = time.perf_counter() - self._start


if __name__ == "__main__":
    main(int(sys.argv[1]))
