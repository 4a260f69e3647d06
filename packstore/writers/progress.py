"""How far a save is: the interface that writers report to, one that shows nothing, and a bar on the terminal."""

from __future__ import annotations

import importlib.util
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


# Narrower terminals see no speed and no remaining time: a bar that breaks over two lines cannot be redrawn in place.
WIDE = 80


class RichProgress:
    """Shows bytes done of `total` on stderr; thread safe; gone from the screen when the block ends.

    Shows nothing where stderr is neither a terminal nor a notebook that has ipywidgets.
    """

    def __init__(self, title: str, total: int) -> None:
        # Loaded here: importing rich takes longer than a small save.
        from rich import progress
        from rich.console import Console
        from rich.table import Column

        # Not on stdout, where results go. Rich's bar for notebooks warns, and shows nothing, without ipywidgets.
        notebook = None if importlib.util.find_spec("ipywidgets") else False
        console = Console(stderr=True, force_jupyter=notebook)

        def one_line(share: int | None = None) -> Column:
            return Column(no_wrap=True, overflow="ellipsis", ratio=share)

        columns: list[progress.ProgressColumn] = [
            # The title is a file's name, which may look like markup.
            progress.TextColumn("{task.description}", markup=False, table_column=one_line(2)),
            progress.BarColumn(bar_width=None, table_column=one_line(1)),
            progress.DownloadColumn(table_column=one_line()),
        ]
        if console.width >= WIDE:
            columns.append(progress.TransferSpeedColumn(table_column=one_line()))
            columns.append(progress.TimeRemainingColumn(table_column=one_line()))
        shown = console.is_terminal or console.is_jupyter
        self._bar = progress.Progress(*columns, console=console, transient=True, disable=not shown, expand=True)
        self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> Self:
        if not self._bar.disable:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Stopped without a start, the bar of old releases of rich prints an empty line.
        if not self._bar.disable:
            self._bar.stop()

    def advance(self, nbytes: int) -> None:
        """Add `nbytes` that were written."""
        self._bar.advance(self._task, nbytes)


def shown_progress(show: bool, title: str, total: int) -> AbstractContextManager[Progress]:
    """A bar on stderr over `total` bytes for a ``with`` block, or nothing."""
    return RichProgress(title, total) if show else nullcontext(NoProgress())
