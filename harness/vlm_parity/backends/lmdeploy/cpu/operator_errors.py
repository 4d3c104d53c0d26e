"""Errors of the CPU operators.

The operators run inside LMDeploy's engine loop, which ends with their errors and reports its own end only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_errors: list[Exception] = []


def keep_errors(operator: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Decorate an operator: its errors are kept for ``get_last_error``, and raised."""

    @wraps(operator)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        try:
            return operator(*args, **kwargs)
        except Exception as error:
            _errors.append(error)
            raise

    return run


def get_last_error() -> Exception | None:
    """Return the last error of an operator in this process, None if there was none."""
    return _errors[-1] if _errors else None
