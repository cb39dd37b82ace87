"""One thread of a process made to stand still, while the others go on: a disk that takes its time.

    with Stopped(pid, "committer"): ...
"""
import ctypes
import errno
import os
import signal

SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def threads(pid):
    """{thread id: name}"""
    out = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/comm", encoding="ascii") as f:
            out[int(tid)] = f.read().strip()
    return out


def ptrace(request, tid):
    if libc.ptrace(request, tid, None, None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Stopped:
    """A thread by its name; None: the first one, whatever it is called by now (a program that begins changes its name)."""

    def __init__(self, pid, name):
        self.tid = pid if name is None else next(t for t, n in threads(pid).items() if n == name)

    def __enter__(self):
        ptrace(SEIZE, self.tid)
        ptrace(INTERRUPT, self.tid)
        os.waitpid(self.tid, WALL)
        return self

    def __exit__(self, *exc):
        ptrace(DETACH, self.tid)


class AllStopped:
    """Every thread of a process: kill(2) comes back before they stand."""

    def __init__(self, pid):
        self.pid = pid

    def stands(self):
        states = []
        for tid in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{tid}/stat", encoding="ascii", errors="replace") as f:
                states.append(f.read().rsplit(")", 1)[1].split()[0])
        return set(states) == {"T"}

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)
        while not self.stands():
            os.sched_yield()
        return self

    def __exit__(self, *exc):
        os.kill(self.pid, signal.SIGCONT)


def may_stop(pid):
    """None, or why not."""
    try:
        with Stopped(pid, None):
            return None
    except OSError as e:
        if e.errno not in (errno.EPERM, errno.ENOSYS):
            raise
        return f"ptrace is not allowed here: {e.strerror}"
