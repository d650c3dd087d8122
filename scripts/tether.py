"""Start a program that does not outlive its parent, and as another user where that is asked for.

``python -I -S tether.py PARENT SIGNAL USER PROGRAM ARGUMENTS…`` becomes PROGRAM: the process id stays. A launcher instead of
``preexec_fn``, which Python does not promise to be safe in a process with threads. USER is a numeric id, or ``-`` for ours;
it is taken on here, as late as possible, because that user may not be able to reach our Python interpreter.
"""

import ctypes
import os
import sys

#: From Linux's <sys/prctl.h>: the signal that we get when the thread that started us ends. Other systems have no such thing;
#: there a leftover is found and ended by the next start.
_PR_SET_PDEATHSIG = 1


def main(parent: int, signal: int, user: str, command: list[str]) -> None:
    if user != "-":
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    if sys.platform == "linux":
        # After the change of user, which would clear it again.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:
            raise SystemExit("the parent ended before its child began")
    os.execvp(command[0], command)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
