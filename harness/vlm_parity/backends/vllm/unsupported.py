"""How vLLM says that it does not serve something."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError

from vlm_parity.util.errors import UnsupportedError

UNSUPPORTED_MESSAGES = re.compile(
    "At most 0 "
    "|At most 1 "  # of a modality that the model takes one of; the backend's own limits are higher
    "|is not a multimodal model"
    "|are not supported for now"
    "|one frame rate a request"
)


class raising_unsupported:
    """Turns what vLLM says of things that it does not serve, or that this environment lacks a module for,
    into ``UnsupportedError``.
    """

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        lacking = _missing_feature(problem)
        if lacking:
            raise UnsupportedError(
                f"vLLM needs {lacking} for it, which this environment has not"
            ) from problem
        # Some are ValueErrors, others vLLM's own.
        if isinstance(problem, Exception) and UNSUPPORTED_MESSAGES.search(str(problem)):
            raise UnsupportedError(str(problem)) from problem


def _missing_feature(problem: BaseException | None) -> str | None:
    """The module that vLLM was about to tell of when it failed over the name of its own distribution,
    which is not "vllm" everywhere (``get_vllm_optional_dependencies``).
    """
    if not isinstance(problem, PackageNotFoundError):
        return None
    cause = problem.__context__
    while cause is not None and not isinstance(cause, ModuleNotFoundError):
        cause = cause.__context__
    return cause.name if cause is not None else None
