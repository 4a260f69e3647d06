"""The two reasons why something in a file is not used; both are caught inside this reader.

In: the text that tells the user why. Out: an exception, which the reader turns into an entry of
``ManifestGroup.unsupported``, an error of `packstore.errors`, or a reading through h5py.
"""

from __future__ import annotations

__all__ = ["Damaged", "NotServed"]


class Damaged(Exception):
    """The stored bytes contradict each other or the file format.

    Parameters
    ----------
    why
        The text.
    element
        The number of the damaged element in the caller's request, or None.
    """

    def __init__(self, why: str, element: int | None = None) -> None:
        super().__init__(why)
        self.element = element


class NotServed(Exception):
    """The bytes may be sound, and packstore does not serve them, or a link leads to nothing."""
