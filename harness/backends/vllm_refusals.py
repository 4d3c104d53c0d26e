"""How vLLM says that it does not serve something."""

from __future__ import annotations

import re

from harness.backends.base import Unsupported

UNSERVED = re.compile(
    "At most 0 "
    "|At most 1 "  # of a modality that the model takes one of; the backend's own limits are higher
    "|is not a multimodal model"
    "|are not supported for now"
    "|one frame rate a request"
)


class refusals_named:  # noqa: N801
    """Turns what vLLM says of things that it does not serve into ``Unsupported``."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        # Some are ValueErrors, others vLLM's own.
        if isinstance(problem, Exception) and UNSERVED.search(str(problem)):
            raise Unsupported(str(problem)) from problem
