"""The device lock: one engine at a time on a GPU, any number on a CPU."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from vlm_parity.capture.device_lock import acquire_device_lock
from vlm_parity.schema.engine_setup import Device

MOMENT = 0.1  # seconds


def is_free(device: Device) -> bool:
    """Return whether another thread can acquire the lock at once."""
    acquired = threading.Event()

    def acquire() -> None:
        with acquire_device_lock(device):
            acquired.set()

    threading.Thread(target=acquire, daemon=True).start()
    return acquired.wait(MOMENT)


@pytest.mark.usefixtures("cache")
def test_one_engine_at_a_time_uses_a_gpu() -> None:
    with acquire_device_lock("cuda"):
        assert not is_free("cuda")
    assert is_free("cuda")


@pytest.mark.usefixtures("cache")
def test_a_gpu_is_released_after_a_failure() -> None:
    with pytest.raises(RuntimeError), acquire_device_lock("cuda"):
        raise RuntimeError
    assert is_free("cuda")


@pytest.mark.usefixtures("cache")
def test_other_gpus_stay_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with acquire_device_lock("cuda"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        assert is_free("cuda")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("held", "wanted"), [("0,1", "1,2"), ("1,0", "0"), (None, "1"), ("1", None), ("0", " 0")]
)
def test_sessions_that_share_a_gpu_wait_for_each_other(
    held: str | None, wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_visible(value: str | None) -> None:
        if value is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)

    set_visible(held)
    with acquire_device_lock("cuda"):
        set_visible(wanted)
        assert not is_free("cuda")
    assert is_free("cuda")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    "visible", ["", "/", "?", "GPU-0/1", "MIG-GPU-0123abcd-0123-0123-0123-0123456789ab/7/0" * 8]
)
def test_any_value_of_the_variable_names_a_lock(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with acquire_device_lock("cuda"):
        assert not is_free("cuda")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{visible}1")
        assert is_free("cuda")


def test_a_cpu_needs_no_lock(cache: Path) -> None:
    with acquire_device_lock("cpu"):
        assert is_free("cpu")
    assert not cache.exists()
