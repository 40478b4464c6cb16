"""One thing at a time is done in a thread while the process goes on. Knows nothing of torch."""

import threading
from collections.abc import Callable


class Background:
    """A thread for work whose failure must not pass unseen.

    The thread is no daemon: a process that ends with an error ends once the work is done or has failed, since
    the interpreter cannot be taken from under libraries that are in the middle of it.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin; what was begun before has to be taken by :meth:`finish`."""
        assert self._thread is None, "one at a time"
        self._thread = threading.Thread(target=self._run, args=(work,), name="checkpoint")
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether what was begun has ended, well or not, and nobody has taken it."""
        return self._thread is not None and not self._thread.is_alive()

    def finish(self, seconds: float | None = None) -> bool:
        """Wait until nothing is being done, ``seconds`` at most; gives whether that is so.

        Raises
        ------
        BaseException
            What the work ended with.
        """
        if self._thread is None:
            return True
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
        return True

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - torch's CheckpointException is no Exception
            self._error = error
