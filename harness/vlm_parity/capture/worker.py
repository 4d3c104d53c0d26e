"""The child process: loads one engine and captures one case after the other.

Run as ``python -m vlm_parity.capture.worker FD``: requests and responses are exchanged over the connection
of that file descriptor, so the standard streams are left to the engine's own output.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib import import_module
from multiprocessing.connection import Connection

from vlm_parity.backends.base import Backend, Inputs, ReferenceBackend, Request
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.capture.build_trace import build_trace, collect_arrays, drop_large_arrays, get_capture_depth
from vlm_parity.capture.measure_noise import measure_noise_floor
from vlm_parity.capture.protocol import CaptureRequest, InjectedFault, LoadRequest, Response
from vlm_parity.capture.supported import check_entry_point, check_mode
from vlm_parity.media.load import load_media
from vlm_parity.models.content import check_unchanged
from vlm_parity.schema.array_sketch import sketch_arrays, write_sketch
from vlm_parity.schema.engine_setup import Depth, Dtype
from vlm_parity.schema.max_media import MAX_KEPT_VALUES, replace_max_media
from vlm_parity.schema.noise_floor import FloorRecord, NoiseFloor, get_floor_folder
from vlm_parity.schema.trace import Outcome, Stage, Trace, read_trace
from vlm_parity.schema.trace_arrays import open_arrays
from vlm_parity.util.errors import EngineCrashedError, EngineError, ModeNotApplicableError, UnsupportedError


def main(descriptor: int) -> None:
    """Serve one load request and any number of capture requests until the parent closes the connection."""
    os.set_inheritable(descriptor, False)
    with Connection(descriptor) as connection:
        messages = _receive_messages(connection)
        for response in serve_requests(LoadRequest.model_validate_json(next(messages)), messages):
            connection.send_bytes(response.model_dump_json().encode())


def _receive_messages(connection: Connection) -> Iterator[bytes]:
    with suppress(EOFError):
        while True:
            yield connection.recv_bytes()


def serve_requests(load_request: LoadRequest, messages: Iterable[bytes]) -> Iterator[Response]:
    """Yield a response to the load, then one to each capture request.

    Ends early if the load fails or the engine crashes.

    Args:
        load_request: the engine to load.
        messages: capture requests as JSON.
    """
    start = time.perf_counter()
    try:
        backend = load_backend_class(load_request.backend, load_request.entry_point)(load_request.settings)
        check_mode(backend)
        backend.load(load_request.checkpoint)
        check_unchanged(load_request.checkpoint)
    except Exception as error:
        seconds = time.perf_counter() - start
        traceback.print_exc()
        yield Response(
            outcome=_classify_outcome(error, Outcome.ERROR), message=_format_error(error), seconds=seconds
        )
        return
    yield Response(outcome=Outcome.CAPTURED, seconds=time.perf_counter() - start)
    for message in messages:
        request = CaptureRequest.model_validate_json(message)
        start = time.perf_counter()
        with _inject_fault(backend, request.fault):
            trace = (
                read_trace(request.folder)
                if request.floor_only
                else capture_case(backend, load_request, request)
            )
        has_outputs = trace.outcome is Outcome.CAPTURED and trace.depth is Depth.LOGITS
        if request.floor is not None and has_outputs:
            write_noise_floor(backend, trace, request, request.floor)
        seconds = time.perf_counter() - start
        yield Response(case=request.case.name, outcome=trace.outcome, message=trace.message, seconds=seconds)
        if trace.outcome is Outcome.CRASH:
            return
    backend.close()


def capture_case(backend: Backend, load_request: LoadRequest, capture: CaptureRequest) -> Trace:
    """Capture one case and write its trace. A refusal or an exception of the engine is an outcome."""
    case = capture.case.model_copy(update={"folder": capture.case_folder})
    seconds: dict[str, float] = {}
    request = inputs = outputs = encoder_budget = None
    outcome, message = Outcome.CAPTURED, ""
    missing: dict[Stage, str] = {}
    try:
        if case.max_size_modality is not None:
            with _Timer(seconds, "encoder_budget"):
                encoder_budget = backend.measure_encoder_budget(case.max_size_modality)
            case = replace_max_media(case, encoder_budget)
        batch_with = tuple(Request(other, load_media(other)) for other in capture.batch_with)
        request = Request(case, load_media(case), capture.entry_point, batch_with)
        check_entry_point(backend, request)
        with _Timer(seconds, "inputs"):
            inputs = backend.inputs(request)
        if capture.uses_max_media:
            inputs = drop_large_arrays(inputs, MAX_KEPT_VALUES)
        if get_capture_depth(load_request, case) is Depth.LOGITS:
            if capture.is_reference or capture.continuation is not None:
                with _Timer(seconds, "outputs"):
                    outputs = backend.outputs(inputs, capture.continuation, case.max_new_tokens)
            else:
                missing = dict.fromkeys(_engine_stages(inputs), "no outputs were requested")
    except ModeNotApplicableError as error:
        missing = dict.fromkeys(_engine_stages(inputs), str(error))
    except EngineCrashedError as error:
        outcome, message = Outcome.CRASH, str(error)
        traceback.print_exc()
    except Exception as error:
        is_refusal = request is not None and inputs is None and not isinstance(error, EngineError)
        failure = Outcome.REFUSED if is_refusal else Outcome.ERROR
        outcome, message = _classify_outcome(error, failure), _format_error(error)
        traceback.print_exc()
    trace = build_trace(backend, load_request, case, inputs, outputs)
    missing |= trace.not_captured
    arrays = collect_arrays(inputs, outputs)
    trace = trace.model_copy(
        update={
            "mode": load_request.mode,
            "entry_point": capture.entry_point,
            "max_size_modality": capture.case.max_size_modality,
            "encoder_budget": encoder_budget,
            "outcome": outcome,
            "message": message,
            "seconds": seconds,
            "not_captured": missing,
            "arrays": tuple(sorted(arrays)),
        }
    )
    if capture.is_reference and arrays:
        write_sketch(capture.folder, sketch_arrays(arrays))
    trace.write(capture.folder, arrays)
    return trace


def _inject_fault(backend: Backend, fault: InjectedFault | None) -> AbstractContextManager[None]:
    if fault is None:
        return nullcontext()
    module, _, function = fault.target.partition(":")
    injector: Callable[[Backend, str], AbstractContextManager[None]]
    injector = getattr(import_module(module), function)
    return injector(backend, fault.name)


def write_noise_floor(backend: Backend, trace: Trace, capture: CaptureRequest, dtype: Dtype) -> None:
    """Write the noise floor in ``dtype`` next to the reference trace, or the reason why there is none."""
    assert isinstance(backend, ReferenceBackend)
    case = capture.case.model_copy(update={"folder": capture.case_folder})
    truth_dtype = trace.environment.dtype
    try:
        inputs = backend.inputs(Request(case, load_media(case)))
        samples = backend.samples(inputs, trace.continuation or (), dtype)
        with open_arrays(capture.folder) as truth:
            assert truth is not None
            floor = measure_noise_floor(samples, truth, trace.spans or (), truth_dtype, dtype)
    except Exception as error:
        traceback.print_exc()
        floor = NoiseFloor(FloorRecord(truth=truth_dtype, dtype=dtype, problem=_format_error(error)), {})
    floor.write(get_floor_folder(capture.folder, dtype))


def _engine_stages(inputs: Inputs | None) -> Iterator[Stage]:
    """Yield the stages that need the engine to run."""
    for stage in Stage:
        if stage.depth is Depth.LOGITS or (stage is Stage.POSITIONS and inputs and inputs.positions is None):
            yield stage


def _classify_outcome(error: Exception, failure: Outcome) -> Outcome:
    return Outcome.UNSUPPORTED if isinstance(error, UnsupportedError) else failure


def _format_error(error: Exception) -> str:
    message, name = str(error), type(error).__name__
    if isinstance(error, UnsupportedError):
        return message
    return f"{name}: {message}" if message else name


class _Timer:
    """Stores the seconds spent in a block as ``seconds[name]``, also if it raises."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] = time.perf_counter() - self._start


if __name__ == "__main__":
    main(int(sys.argv[1]))
