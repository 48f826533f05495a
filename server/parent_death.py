"""End when the parent ends, however it ends. Linux alone can do that; elsewhere nothing happens.

As a script, `parent_death.py PID COMMAND…` ties itself to its parent PID and becomes COMMAND.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have SIGTERM sent to this process as soon as the thread that started it is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def tied() -> list[str]:
    """Return what to put before a command line so that its process ends with this one, from its
    first moment on."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid())]


if __name__ == "__main__":
    end_with_parent()
    if os.getppid() == int(sys.argv[1]):  # else it was gone before the call
        os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - the command of our caller
