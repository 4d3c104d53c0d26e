"""Program that is replaced by a command whose process ends with its parent.

Run as ``python -m vlm_parity.backends.server.parent_death COMMAND ...``. The setting in the kernel survives
``exec``, so nothing of this module remains in the process that serves.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


def main(command: list[str]) -> None:
    """Replace this process by a command.

    Args:
        command: program and arguments.

    Raises:
        OSError: ``prctl`` failed.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # the parent ended before the call
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
