"""vLLM's errors about unsupported models and cases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError

from vlm_parity.util.errors import UnsupportedError

UNSUPPORTED_MESSAGES = re.compile(
    "At most 0 "
    "|At most 1 "  # of a modality of which the model accepts one; the backend's own limits are higher
    "|is not a multimodal model"
    "|are not supported for now"
    "|one frame rate a request"
)


@contextmanager
def convert_unsupported_errors() -> Iterator[None]:
    """Convert vLLM's errors about unsupported features and missing modules, while the block runs.

    Raises:
        UnsupportedError: in place of such an error.
    """
    try:
        yield
    except Exception as error:
        module = _find_missing_module(error)
        if module:
            raise UnsupportedError(f"vLLM needs {module} for this case, which is not installed") from error
        # Some are ValueErrors, others vLLM's own.
        if UNSUPPORTED_MESSAGES.search(str(error)):
            raise UnsupportedError(str(error)) from error
        raise


def _find_missing_module(error: BaseException) -> str | None:
    """Return the module whose absence vLLM was about to report.

    For its report vLLM reads the metadata of its own distribution, which fails if that is not named "vllm"
    (``get_vllm_optional_dependencies``).
    """
    if not isinstance(error, PackageNotFoundError):
        return None
    cause = error.__context__
    while cause is not None and not isinstance(cause, ModuleNotFoundError):
        cause = cause.__context__
    return cause.name if cause is not None else None
