"""Ctrl-C, SIGTERM and SIGHUP end a run between two chunks, where everything done so far is on the disk."""

import os
import signal
import stat
from types import FrameType

from landscape.runs import processes

_received: list[int] = []  # signals since `install`; a handler may only do what is safe at any point of the program


class Interrupted(BaseException):
    """A run was asked to stop. Not an Exception, so that no handler of errors on the way swallows it."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def status(self) -> int:
        """The exit status that shells give to a process ended by this signal: 130, 143 or 129."""
        return 128 + self.signum


def install() -> None:
    """From here on these signals are noted, for `check` to act on; a second one raises wherever it arrives.

    SIGHUP comes where a terminal is closed. Under nohup, which has it ignored, it stays so.
    """
    _received.clear()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN or signum != signal.SIGHUP:
            signal.signal(signum, _note)


def check() -> None:
    """Raises Interrupted if a signal has come, to this process or another of the run.

    Called between chunks, and between epochs once a checkpoint is saved.
    """
    received = processes.any_of(_received[0] if _received else 0)
    if received:
        raise Interrupted(received)


def check_here() -> None:
    """Raises Interrupted if a signal has come to this process.

    For work that the other processes of a run may not be doing, such as decoding data that they have in their caches:
    there `check`, to which all have to come, would wait for ever.
    """
    if _received:
        raise Interrupted(_received[0])


def _note(signum: int, _frame: FrameType | None) -> None:
    _received.append(signum)
    if len(_received) > 1:
        raise Interrupted(signum)
    try:  # a plain write: print may be in the middle of another one
        os.write(2, b"\nstopping after the piece of work under way; once more to stop at once\n")
    except OSError:  # the terminal is gone: what is shown until then goes nowhere
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(nowhere, stream)
