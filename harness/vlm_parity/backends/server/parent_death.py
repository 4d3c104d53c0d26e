"""Becomes another program that ends with the process that started it.

Run as ``python -m vlm_parity.backends.server.parent_death COMMAND ...``. The kernel's order outlives ``exec``, so
nothing of this module is left in the program that serves.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


def main(command: list[str]) -> None:
    """Replaces this process by ``command``.

    Raises:
        OSError: the kernel refuses the order.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # it ended before the order was given
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
