"""How far a save is: the interface that writers report to, one that shows nothing, and a bar on the terminal."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Protocol, Self

__all__ = ["NoProgress", "Progress", "RichProgress", "shown_progress"]


class Progress(Protocol):
    """Told how many bytes of array data are written."""

    def advance(self, nbytes: int) -> None:
        """Add `nbytes` that were written."""


class NoProgress:
    """Shows nothing."""

    def advance(self, nbytes: int) -> None:
        """Do nothing."""


class RichProgress:
    """Shows bytes done of `total` on stderr; thread safe; gone from the screen when the block ends."""

    def __init__(self, title: str, total: int) -> None:
        # Loaded here: importing rich takes longer than a small save.
        from rich import progress
        from rich.console import Console

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            # Not on stdout, where results go.
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, nbytes: int) -> None:
        """Add `nbytes` that were written."""
        self._bar.advance(self._task, nbytes)


def shown_progress(show: bool, title: str, total: int) -> AbstractContextManager[Progress]:
    """A bar on stderr over `total` bytes for a ``with`` block, or nothing."""
    return RichProgress(title, total) if show else nullcontext(NoProgress())
