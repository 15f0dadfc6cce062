"""Ctrl-C and SIGTERM, recorded for the training loop to check between calls."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interrupt:
    """Whether the user, or the system, asked the run to stop.

    Attributes:
      received: the number of the signal received, or 0.
    """

    received = 0

    @contextlib.contextmanager
    def watched(self) -> Iterator["Interrupt"]:
        """Record the first signal; a second one has its usual effect.

        Yields:
          The object itself.
        """
        before = {number: signal.getsignal(number) for number in _SIGNALS}

        def note(number: int, frame: FrameType | None) -> None:
            self.received = number
            restore()

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        for number in _SIGNALS:
            signal.signal(number, note)
        try:
            yield self
        finally:
            restore()


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
