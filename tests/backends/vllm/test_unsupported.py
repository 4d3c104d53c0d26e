from importlib.metadata import PackageNotFoundError, metadata

import pytest

from vlm_parity.backends.vllm.unsupported import refusals_named
from vlm_parity.util.errors import UnsupportedError


def fail_as_vllm_does() -> None:
    """It looks for how to tell of a missing module in the metadata of a distribution that is missing."""
    try:
        raise ModuleNotFoundError("No module named 'no_such_module'", name="no_such_module")
    except ImportError:
        metadata("no-such-distribution")


def test_a_module_that_is_not_there_is_told_of() -> None:
    with pytest.raises(UnsupportedError, match="no_such_module"), refusals_named():
        fail_as_vllm_does()


def test_a_distribution_that_is_not_there_is_none() -> None:
    with pytest.raises(PackageNotFoundError), refusals_named():
        metadata("no-such-distribution")


def test_other_words_stay_an_error() -> None:
    with pytest.raises(ValueError, match="shape"), refusals_named():
        raise ValueError("shape")
    with pytest.raises(UnsupportedError, match="At most 0"), refusals_named():
        raise ValueError("At most 0 video(s) may be provided in one prompt.")
