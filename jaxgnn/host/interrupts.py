"""Ctrl-C and SIGTERM that wait for a place where nothing is half done.

An exception in the midst of tracing or compiling leaves objects behind on which the interpreter's end may crash, and
one between a step and its checkpoint loses the step. So a first signal is only noted, and loops look at it where they
can stop; a second one does not wait.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_ONE_PRESS = 0.5  # seconds within which signals count as one: wrappers send on what the terminal has sent already
_DEFAULT: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class ProcessLost(RuntimeError):
    """Another process of the run stopped, or cannot be reached."""


class Stop:
    """Whether the process was asked to stop.

    Attributes:
      signal: the number of the first signal, or None.
    """

    def __init__(self, *, of_command: bool = False):
        self.signal: int | None = None
        self.of_command = of_command

    @property
    def wanted(self) -> bool:
        return self.signal is not None


_OPEN: list[Stop] = []  # one for each open context, all the outermost one's: signals are the whole process's


@contextmanager
def deferred() -> Iterator[Stop]:
    """Within it a first Ctrl-C or SIGTERM only sets `Stop.signal`, and takes effect where the context ends.

    The body looks at it where it can stop, and raises KeyboardInterrupt then. SIGTERM ends the process as it would
    have, unless `of_command` is open. A second signal does not wait. Handlers of the caller's own are left alone.
    Another thread than the main one, which gets all signals, stops where the main one is asked to.
    """
    if threading.current_thread() is not threading.main_thread():
        yield (stop := _OPEN[0] if _OPEN else Stop())
        if stop.wanted:
            raise KeyboardInterrupt
        return
    inner = bool(_OPEN)
    stop = _OPEN[0] if inner else Stop()
    with _opened(stop), _noted(stop, whatever=inner):
        try:
            yield stop
        except KeyboardInterrupt:
            if not stop.wanted:
                raise
    if stop.wanted:
        if stop.signal == signal.SIGTERM and not inner:
            signal.raise_signal(stop.signal)
        raise KeyboardInterrupt


@contextmanager
def of_command() -> Iterator[Stop]:
    """For a whole command: signals are noted until `check`, or an inner `deferred`, raises KeyboardInterrupt.

    The first one is answered on standard error, a second one ends the process with exit code 128 + its number.
    """
    if threading.current_thread() is not threading.main_thread() or _OPEN:
        yield Stop()
        return
    stop = Stop(of_command=True)
    with _opened(stop), _second_ends_the_process(), _noted(stop, whatever=True):
        yield stop


def check() -> None:
    """A place where a command can stop: raises KeyboardInterrupt if it was asked to, outside all inner contexts."""
    if len(_OPEN) == 1 and _OPEN[0].of_command and _OPEN[0].wanted:
        raise KeyboardInterrupt


@contextmanager
def _opened(stop: Stop) -> Iterator[None]:
    _OPEN.append(stop)
    try:
        yield
    finally:
        _OPEN.pop()


@contextmanager
def _noted(stop: Stop, *, whatever: bool) -> Iterator[None]:
    """Handlers that note the first signal, in place of the default ones, or of whatever there is but SIG_IGN.

    Inner contexts put them in place once more: jax.distributed sets its own for SIGTERM.
    """

    def note(number: int, frame: Any) -> None:
        if not stop.wanted:
            stop.signal = number
        elif not stop.of_command:
            signal.signal(number, _DEFAULT[number])
            signal.raise_signal(number)

    before = {number: signal.getsignal(number) for number in _DEFAULT}
    taken = [n for n, h in before.items() if h is _DEFAULT[n] or (whatever and h is not signal.SIG_IGN)]
    try:
        for number in taken:
            signal.signal(number, note)
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number] or signal.SIG_DFL)


@contextmanager
def _second_ends_the_process() -> Iterator[None]:
    """A thread that is told of signals while the main one is in compiled code, which handlers have to wait for."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watching = threading.Thread(target=_watch, args=(reading,), daemon=True)
    watching.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.write(writing, b"\0")
        watching.join()
        os.close(reading)
        os.close(writing)


def _watch(reading: int) -> None:
    first = None
    while number := os.read(reading, 1)[0]:
        if number not in _DEFAULT:
            continue
        if first is None:
            first = time.monotonic()
            with suppress(OSError, ValueError):
                print("jaxgnn: stopping where nothing is lost; once more stops at once", file=sys.stderr, flush=True)
        elif time.monotonic() - first > _ONE_PRESS:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
            os._exit(128 + number)
