"""`Closing`: what an opened array or group does as a context manager, and once it was closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from packstore.errors import ClosedError, message

if TYPE_CHECKING:
    from typing import Self

    from packstore.readers.location import AnyLocation

__all__ = ["Closing", "Opened"]


class Opened:
    """Whether something that was opened is still open; what was reached through something else closes with it.

    Examples
    --------
    >>> group = Opened()
    >>> member = Opened(group)
    >>> group.close()
    >>> member.is_closed
    True
    """

    # `is_closed` is looked at before each crop: a plain attribute, which those above set.
    __slots__ = ("__weakref__", "_below", "is_closed")

    def __init__(self, above: Opened | None = None) -> None:
        self.is_closed: bool = above is not None and above.is_closed
        self._below: WeakSet[Opened] = WeakSet()
        if above is not None:
            above._below.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # What is unpickled is opened anew.
        return (Opened, ())

    def close(self) -> None:
        """Close it, and all that was reached through it."""
        self.is_closed = True
        for each in tuple(self._below):
            each.close()


class Closing:
    """An array or a group that can be closed. A subclass sets `_opened` and `_where`."""

    _opened = Opened()

    @property
    def _where(self) -> tuple[AnyLocation | None, str]:
        """The location, if it is known, and the component in it."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """Whether it was closed, or the group that it was reached through."""
        return self._opened.is_closed

    def _check_open(self) -> None:
        if self._opened.is_closed:
            location, component = self._where
            path = None if location is None else location.path
            raise ClosedError(
                message(
                    "reading",
                    path,
                    component or None,
                    expected=f"an open {type(self).__name__}",
                    got="a closed one",
                    hint="Open the file again",
                )
            )

    def close(self) -> None:
        """Close it: the file is let go of, and what caches keep of it; closing twice does nothing.

        Reading it, or what was reached through it, raises `ClosedError` (a ValueError) afterwards. What was read before
        stays as it is, as do other openings of the same file, and dask arrays over it.
        """
        if not self._opened.is_closed:
            self._opened.close()
            location, _ = self._where
            if location is not None:
                location.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
