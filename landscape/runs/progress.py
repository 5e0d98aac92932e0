"""What a run shows of its work: a bar with rate and time left on a terminal, a line now and then elsewhere."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from landscape.runs.directory import Run, open_console

LINE_SECONDS = 5.0  # between two lines of one stage where the output is not a terminal


class Bar:
    """Progress of one piece of work. Made by `progress`."""

    def __init__(self, console: Console, title: str, total: int, unit: str):
        self.title, self.total, self.unit = title, total, unit
        self.done = 0
        self._restored = 0  # read back from an earlier run: no part of the rate
        self._began = self._last_line = time.monotonic()
        self._from = (self._began, 0)  # when the rate is counted from, and the units done here until then
        self._text = ""
        self._console = console
        self._live = None
        if console.is_terminal:
            columns = (TextColumn("{task.description:<24}"), BarColumn(), TextColumn("{task.fields[state]}"))
            self._live = Progress(*columns, console=console, refresh_per_second=4)
            self._task = self._live.add_task(title, total=total, state=self.state())
            self._live.start()
        else:
            self._line(self.state())

    def advance(self, n: int = 1, text: str = "") -> None:
        """n more units are done; `text` (such as "loss 0.31") is shown behind."""
        self.done += n
        self._text = text
        self._show()
        if self._from[1] == 0:  # the first units wait for the compiler, and say little of the others
            self._from = (time.monotonic(), n)

    def restore(self, n: int) -> None:
        """n units were found done by an earlier run."""
        self._restored += n
        self.done += n
        self._show()

    def state(self) -> str:
        """`128/512 examples, 25/s, 15 s left, TEXT`."""
        since, before = self._from
        seconds, fresh = time.monotonic() - since, self.done - self._restored - before
        parts = [f"{self.done}/{self.total} {self.unit}"]
        if fresh and seconds > 0 and self.done < self.total:
            parts += [f"{fresh / seconds:.3g}/s", f"{duration((self.total - self.done) * seconds / fresh)} left"]
        return ", ".join([*parts, *filter(None, [self._text])])

    def close(self, *, whole: bool) -> None:
        """The last state stays; `whole` says that the work ended rather than was interrupted."""
        state = self.state()
        if whole:
            state += f" in {duration(time.monotonic() - self._began)}"
        if self._restored:
            state += f" ({self._restored} found done)"
        if self._live:
            self._live.update(self._task, completed=self.done, state=state)
            self._live.stop()
        else:
            self._line(state)

    def _show(self) -> None:
        if self._live:
            self._live.update(self._task, completed=self.done, state=self.state())
        elif time.monotonic() - self._last_line >= LINE_SECONDS and self.done < self.total:
            self._line(self.state())

    def _line(self, state: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(f"{self.title}: {state}", soft_wrap=True, highlight=False, markup=False)


@contextlib.contextmanager
def progress(run: Run | None, title: str, total: int, unit: str = "examples") -> Iterator[Bar]:
    """Shows progress while the block runs; the block calls `.advance(n, text)` on what it is given. Run: if in one."""
    bar = Bar(run.console if run else open_console(), title, total, unit)
    whole = False
    try:
        yield bar
        whole = True
    finally:
        bar.close(whole=whole)


def duration(seconds: float) -> str:
    """Seconds as `0.8 s`, `12 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
