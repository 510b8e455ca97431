"""Ctrl-C between steps: a key press must neither lose minutes of work nor leave a half-done step in a checkpoint.

Python raises KeyboardInterrupt anywhere, also in the middle of an optimiser's update, where nothing can be saved. So
the first Ctrl-C is only noted, and training stops after the step it is in; a second one stops at once.
"""

import signal
import threading
from types import FrameType, TracebackType


class Interrupt:
    """While it is entered, notes the first SIGINT in `asked`; does nothing outside the main thread."""

    def __init__(self) -> None:
        self.asked = False
        self._before: signal.Handlers | object | None = None

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]
        if self.asked and error is None:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
