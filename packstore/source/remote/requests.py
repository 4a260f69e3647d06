"""Requests: a call that makes one goes in, its answer comes out, however often it had to be asked for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from packstore import config
from packstore.errors import PackstoreError

__all__ = ["AGAIN", "NoRangesError", "ShortBodyError", "ask"]

R = TypeVar("R")
# Statuses of servers that are busy, restarting or behind something that is.
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


class NoRangesError(Exception):
    """The server sends all of an object, whatever part is asked for."""


class ShortBodyError(Exception):
    """The server sent fewer bytes than it announced."""


class _Turns:
    """How many requests run now, in all threads; none in a forked child."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.running = 0

    def __enter__(self) -> None:
        most = max(int(config.get("remote.concurrency")), 1)
        with self.condition:
            self.condition.wait_for(lambda: self.running < most)
            self.running += 1

    def __exit__(self, *_: object) -> None:
        with self.condition:
            self.running -= 1
            self.condition.notify()


_turns = _Turns()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _turns.__init__())  # type: ignore[misc]  # it begins anew


def ask(call: Callable[[], R], refuse: Callable[[Exception], tuple[PackstoreError, bool]]) -> R:
    """What `call` gives; where that fails for a reason that may pass, it is asked again, after ever longer pauses.

    Parameters
    ----------
    call
        Makes one request, and nothing that waits for another one.
    refuse
        The error to raise for an exception, and whether asking again may help.

    Notes
    -----
    ``remote.concurrency`` requests run at once in a process, ``remote.retries`` more are made for one that failed,
    within ``remote.retry_seconds``. The exception that is raised has no other one in its chain: those of other packages
    may hold secrets.
    """
    tries, pause = 0, FIRST_PAUSE_S
    until = time.monotonic() + float(config.get("remote.retry_seconds"))
    while True:
        try:
            with _turns:
                return call()
        except NoRangesError:
            raise
        except Exception as error:  # whatever the library that makes the request raises
            why, again = refuse(error)
        tries += 1
        if not again or tries > int(config.get("remote.retries")) or time.monotonic() + pause > until:
            break
        # Function-level, for import time: few requests are made again.
        import random

        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, LONGEST_PAUSE_S)
    raise why if tries == 1 else type(why)(f"{why} Asked {tries} times.")
