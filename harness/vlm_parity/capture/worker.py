"""The child process: loads one engine and captures one case after the other.

Run as ``python -m vlm_parity.capture.worker FD``: requests and responses are exchanged over the connection
of that file descriptor, so the standard streams are left to the engine's own output.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib import import_module
from multiprocessing.connection import Connection

from pydantic import TypeAdapter, ValidationError

from vlm_parity.backends.base import Backend, Inputs, Outputs, ReferenceBackend, Request
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.capture.build_trace import build_trace, collect_arrays, drop_large_arrays, get_capture_depth
from vlm_parity.capture.conditioned import check_given, check_given_inputs, read_reference_values
from vlm_parity.capture.failure import Failure, build_failed_trace, classify_error
from vlm_parity.capture.measure_noise import measure_noise_floor
from vlm_parity.capture.protocol import (
    CaptureRequest,
    InjectedFault,
    LoadRequest,
    LocateRequest,
    Response,
)
from vlm_parity.capture.supported import check_entry_point, check_mode
from vlm_parity.media.load import find_transparent_images, load_media
from vlm_parity.models.content import check_unchanged
from vlm_parity.schema.array_sketch import sketch_arrays, write_sketch
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import Depth, Dtype
from vlm_parity.schema.location import LOCATION_FILE
from vlm_parity.schema.max_media import MAX_KEPT_VALUES, replace_max_media
from vlm_parity.schema.noise_floor import FloorRecord, NoiseFloor, get_floor_folder
from vlm_parity.schema.record import write_record
from vlm_parity.schema.trace import ARRAY_FILE, Outcome, Stage, Trace, read_trace
from vlm_parity.schema.trace_arrays import open_arrays
from vlm_parity.util.error_origin import is_harness_error
from vlm_parity.util.errors import EngineCrashedError, EngineError, ModeNotApplicableError

_REQUESTS: TypeAdapter[CaptureRequest | LocateRequest] = TypeAdapter(CaptureRequest | LocateRequest)


def main(descriptor: int) -> None:
    """Serve one load request and any number of capture requests until the parent closes the connection.

    No garbage is collected before the engine is loaded: a load creates millions of objects, and they stay.
    """
    gc.disable()
    os.set_inheritable(descriptor, False)
    with Connection(descriptor) as connection:
        messages = _receive_messages(connection)
        responses = serve_requests(LoadRequest.model_validate_json(next(messages)), messages)
        _send_response(connection, next(responses))
        gc.freeze()
        gc.enable()
        for response in responses:
            _send_response(connection, response)


def _send_response(connection: Connection, response: Response) -> None:
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
        try:
            backend.load(load_request.checkpoint)
        finally:  # files that disappear may be why it failed
            check_unchanged(load_request.checkpoint)
    except Exception as error:
        seconds = time.perf_counter() - start
        traceback.print_exc()
        failure = classify_error(error, Outcome.ERROR)
        yield Response(outcome=failure.outcome, message=failure.message, seconds=seconds, is_last=True)
        return
    yield Response(outcome=Outcome.CAPTURED, seconds=time.perf_counter() - start)
    for message in messages:
        response = _serve_request(backend, load_request, message)
        yield response
        if response.is_last:
            return
    backend.close()


def _serve_request(backend: Backend, load_request: LoadRequest, message: bytes) -> Response:
    try:
        request: CaptureRequest | LocateRequest = _REQUESTS.validate_json(message)
    except ValidationError as error:
        return Response(outcome=Outcome.HARNESS_ERROR, message=f"no request: {error}", seconds=0)
    if isinstance(request, LocateRequest):
        return _serve_location(backend, request)
    return _serve_capture(backend, load_request, request)


def _serve_location(backend: Backend, request: LocateRequest) -> Response:
    """Compare the modules of an engine with those of the reference and respond, also if the harness fails."""
    start = time.perf_counter()
    outcome, text = Outcome.CAPTURED, ""
    try:
        assert isinstance(backend, ReferenceBackend)
        case = request.located_case
        inputs = backend.inputs(Request(case, load_media(case)))
        location = backend.locate(inputs, request.modules, request.continuation, request.within)
        seconds = time.perf_counter() - start
        write_record(request.modules / LOCATION_FILE, location.model_copy(update={"seconds": seconds}))
    except Exception as error:
        traceback.print_exc()
        failure = classify_error(error, Outcome.ERROR)
        outcome, text = failure.outcome, failure.message
    return Response(
        case=request.case.name, outcome=outcome, message=text, seconds=time.perf_counter() - start
    )


def _serve_capture(backend: Backend, load_request: LoadRequest, request: CaptureRequest) -> Response:
    """Capture one case and respond, also if the harness fails while it does so."""
    start = time.perf_counter()
    seconds: dict[str, float] = {}
    is_last = False
    try:
        if request.floor_only:
            trace = read_trace(request.folder)
        else:
            with _inject_fault(backend, request.fault):
                trace, is_last = capture_case(backend, load_request, request)
        has_outputs = trace.outcome is Outcome.CAPTURED and trace.depth is Depth.LOGITS
        if request.floor is not None and has_outputs:
            with _Timer(seconds, "floor"):
                write_noise_floor(backend, trace, request, request.floor)
        outcome, text = trace.outcome, trace.message
    except Exception as error:
        traceback.print_exc()
        failure = classify_error(error, Outcome.ERROR)
        _write_failed_trace(load_request, request, failure)
        outcome, text = failure.outcome, failure.message
    return Response(
        case=request.case.name,
        outcome=outcome,
        message=text,
        seconds=time.perf_counter() - start,
        floor_seconds=seconds.get("floor", 0.0),
        is_last=is_last,
    )


def _write_failed_trace(load_request: LoadRequest, request: CaptureRequest, failure: Failure) -> None:
    """Replace what has been written of a trace. If that fails, too, the parent takes the response instead."""
    with suppress(Exception):
        trace = build_failed_trace(
            load_request.backend,
            load_request.name,
            load_request.settings,
            request.case,
            failure,
            request.entry_point,
        )
        (request.folder / ARRAY_FILE).unlink(missing_ok=True)
        trace.model_copy(update={"condition": request.condition}).write(request.folder)


def capture_case(backend: Backend, load_request: LoadRequest, capture: CaptureRequest) -> tuple[Trace, bool]:
    """Capture one case and write its trace. A refusal or an exception of the engine is an outcome.

    Returns:
        The trace, and whether the engine can capture no further case.
    """
    case = capture.located_case
    seconds: dict[str, float] = {}
    request = inputs = outputs = encoder_budget = None
    failure = Failure(Outcome.CAPTURED, "")
    has_crashed = False
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
                    inputs, outputs = _run(backend, inputs, capture)
            else:
                missing = dict.fromkeys(_engine_stages(inputs), "no outputs were requested")
        elif capture.condition is not None:
            inputs = _give_inputs(backend, inputs, capture, capture.condition)
    except ModeNotApplicableError as error:
        missing = dict.fromkeys(_engine_stages(inputs), str(error))
    except Exception as error:
        is_refusal = request is not None and inputs is None and not isinstance(error, EngineError)
        failure = classify_error(error, Outcome.REFUSED if is_refusal else Outcome.ERROR)
        has_crashed = isinstance(error, EngineCrashedError)
        traceback.print_exc()
    trace = build_trace(backend, load_request, case, inputs, outputs)
    missing |= trace.not_captured
    arrays = collect_arrays(inputs, outputs)
    trace = trace.model_copy(
        update={
            "mode": load_request.mode,
            "entry_point": capture.entry_point,
            "condition": capture.condition,
            "max_size_modality": capture.case.max_size_modality,
            "encoder_budget": encoder_budget,
            "outcome": failure.outcome,
            "message": failure.message,
            "transparent_images": find_transparent_images(request.media) if request is not None else (),
            "seconds": seconds,
            "not_captured": missing,
            "arrays": tuple(sorted(arrays)),
        }
    )
    if capture.is_reference and arrays:
        write_sketch(capture.folder, sketch_arrays(arrays))
    trace.write(capture.folder, arrays)
    return trace, has_crashed


def _run(backend: Backend, inputs: Inputs, capture: CaptureRequest) -> tuple[Inputs, Outputs]:
    """Run the engine on its own inputs, or on what it is given; return the inputs on which it ran, too.

    Raises:
        UnsupportedError: it cannot be given these values.
    """
    new_tokens = capture.case.max_new_tokens
    if capture.condition is None:
        with _record_modules(backend, capture, inputs):
            return inputs, backend.outputs(inputs, capture.continuation, new_tokens)
    assert capture.reference_folder is not None
    values = read_reference_values(capture.reference_folder, capture.condition)
    with (
        backend.condition(inputs, capture.condition, values) as given,
        _record_modules(backend, capture, given),
    ):
        outputs = backend.outputs(given, capture.continuation, new_tokens)
    check_given(capture.condition, values, given, outputs, backend.settings.dtype)
    return given, outputs


def _give_inputs(backend: Backend, inputs: Inputs, capture: CaptureRequest, condition: Condition) -> Inputs:
    """Return the inputs that the frontend derives from given values, without running the engine.

    Raises:
        UnsupportedError: it cannot be given these values.
    """
    assert capture.reference_folder is not None
    values = read_reference_values(capture.reference_folder, condition)
    with backend.condition(inputs, condition, values) as given:
        check_given_inputs(condition, values, given)
    return given


def _record_modules(
    backend: Backend, capture: CaptureRequest, inputs: Inputs
) -> AbstractContextManager[None]:
    if capture.modules is None:
        return nullcontext()
    return backend.record_modules(capture.modules, inputs, capture.modules_within)


def _inject_fault(backend: Backend, fault: InjectedFault | None) -> AbstractContextManager[None]:
    if fault is None:
        return nullcontext()
    module, _, function = fault.target.partition(":")
    injector: Callable[[Backend, str], AbstractContextManager[None]]
    injector = getattr(import_module(module), function)
    return injector(backend, fault.name)


def write_noise_floor(backend: Backend, trace: Trace, capture: CaptureRequest, dtype: Dtype) -> None:
    """Write the noise floor in ``dtype`` next to the reference trace, or the reason why there is none.

    Raises:
        Exception: the harness itself failed. Nothing follows about the reference, and nothing is written.
    """
    assert isinstance(backend, ReferenceBackend)
    case = capture.located_case
    truth_dtype = trace.environment.dtype
    try:
        inputs = backend.inputs(Request(case, load_media(case)))
        samples = backend.samples(inputs, trace.continuation or (), dtype)
        with open_arrays(capture.folder) as truth:
            assert truth is not None
            floor = measure_noise_floor(samples, truth, trace.spans or (), truth_dtype, dtype)
    except Exception as error:
        if is_harness_error(error):
            raise
        traceback.print_exc()
        problem = classify_error(error, Outcome.ERROR).message
        floor = NoiseFloor(FloorRecord(truth=truth_dtype, dtype=dtype, problem=problem), {})
    floor.write(get_floor_folder(capture.folder, dtype))


def _engine_stages(inputs: Inputs | None) -> Iterator[Stage]:
    """Yield the stages that need the engine to run."""
    for stage in Stage:
        if stage.depth is Depth.LOGITS or (stage is Stage.POSITIONS and inputs and inputs.positions is None):
            yield stage


class _Timer:
    """Stores the seconds spent in a block as ``seconds[name]``, also if it raises."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] = time.perf_counter() - self._start


def _exit_at_once() -> None:
    """End the process without the teardown of the interpreter, which takes seconds with an engine."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
    _exit_at_once()
