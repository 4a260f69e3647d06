"""The sources of virtual datasets; in: names that a file stores, out: the arrays there, or what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from h5py import h5d

from packstore.core.threads import ForkSafeLock
from packstore.errors import MissingFileError, UnsupportedError, message
from packstore.readers.hdf5.external import ExternalPolicy
from packstore.readers.hdf5.files import H5_ERRORS
from packstore.readers.hdf5.links import root
from packstore.readers.hdf5.problems import NotServed
from packstore.source import FileSource
from packstore.storage import ManifestArray

if TYPE_CHECKING:
    from packstore.readers.hdf5.context import Context
    from packstore.storage import ManifestGroup

__all__ = ["HINT", "NO_DATASET", "SourceRef", "look", "unreachable"]

MAX_CHAIN = 16
NO_DATASET = "a source that is no dataset"
# Sources that are named one by one; a dataset may have very many, all of them in one folder that is not there.
MAX_NAMED = 100
HINT = 'Put the source where the file looks for it, or pass missing_sources="fill" for the fill value in its place'


@dataclass
class SourceRef:
    """One source dataset: described already, or (in another file) on the first read.

    Parameters
    ----------
    label
        The names of the file and the dataset as they are stored, for errors.
    policy
        The caller's options, which also keep the arrays of other files.
    array
        The description; None where it was not read yet, and where `source` is None because there is none.
    source, dataset
        The file, allowed by the caller and in the state that was first seen, and the dataset in it.
    read
        ``read(source, dataset)`` reads the other file.
    chain
        The virtual datasets that this source is a part of: (file, dataset).
    missing
        Why it is not there: no file, or no dataset in it.
    check
        Raises StaleFileError where what is missing may have arrived since.
    problem
        Why it is there and will not read, where that is known already.
    """

    label: tuple[str, str]
    policy: ExternalPolicy
    array: ManifestArray | None = None
    source: FileSource | None = None
    dataset: str = ""
    read: Callable[[FileSource, str], ManifestGroup] | None = None
    chain: tuple[tuple[str, str], ...] = ()
    missing: str | None = None
    check: Callable[[], object] | None = None
    problem: str | None = None
    _lock: ForkSafeLock = field(default_factory=ForkSafeLock)

    def find(self) -> ManifestArray | None:
        """The array; None where there is no such file or dataset."""
        if self.array is None and self.missing is None:
            with self._lock:
                if self.array is None and self.missing is None:
                    self.array = self._describe()
                    if self.array is None:
                        assert self.source is not None
                        self.lose("no such dataset", self.source.check)
        return self.array

    def get(self, name: str) -> ManifestArray | None:
        """The array; None where it is missing, and the fill value stands for it.

        Raises
        ------
        MissingFileError
            It is missing, and the array `name` needs it.
        StaleFileError
            It was missing, and has arrived since.
        """
        found = self.find()
        if found is not None:
            return found
        if self.check is not None:
            self.check()
        if self.policy.fills_missing:
            return None
        file, dataset = self.label
        raise MissingFileError(
            message("reading", name, expected=f"its source {dataset!r} in {file!r}", got=self.missing, hint=HINT)
        )

    def lose(self, why: str, check: Callable[[], object]) -> None:
        """Note that it is missing: why, and how to ask whether it has arrived since."""
        self.missing, self.check = why, check

    def _describe(self) -> ManifestArray | None:
        assert self.source is not None and self.read is not None
        path, known = self.source.path, self.policy.sources
        if (path, self.dataset) in self.chain or len(self.chain) > MAX_CHAIN:
            raise UnsupportedError(
                message("reading a virtual dataset from", path, self.dataset, got="a source that leads back to itself")
            )
        if (path, self.dataset) not in known:
            found = self.read(self.source, self.dataset)
            if self.dataset in found.unsupported and self.dataset not in found.arrays:
                raise UnsupportedError(
                    message("reading a virtual dataset from", path, self.dataset, got=found.unsupported[self.dataset])
                )
            if self.dataset in found.groups:
                raise UnsupportedError(message("reading a virtual dataset from", path, self.dataset, got=NO_DATASET))
            known[path, self.dataset] = found.arrays.get(self.dataset)
        return known[path, self.dataset]


def look(context: Context, ref: SourceRef) -> bool:
    """Ask whether a source in another file is there; one that is made of further files is described at once.

    The state of such a source is that of the further files, which belongs to what the virtual dataset was opened as.
    All other sources are described on the first read. Costs some 0.3 ms a file.

    Returns
    -------
    bool
        Whether it is made of further files.
    """
    assert ref.source is not None
    try:
        session = context.open(ref.source)
        try:
            target = context.linker.resolve(root(session), ref.dataset.encode("utf-8", "surrogateescape"))
        except NotServed as why:
            ref.lose(str(why), ref.source.check)
            return False
        if not target.is_dataset:
            ref.problem = NO_DATASET
            return False
        plist = target.oid.get_create_plist()
        if target.session is session and plist.get_layout() != h5d.VIRTUAL and not plist.get_external_count():
            return False
        ref.find()
    except (NotServed, *H5_ERRORS) as why:
        # Reading it raises; its siblings are served.
        ref.problem = str(why)
    return True


def unreachable(refs: Iterable[SourceRef]) -> dict[str, str]:
    """What of these sources is missing or does not read, as far as that is known: names and reasons."""
    found: dict[str, str] = {}
    for ref in refs:
        file, dataset = ref.label
        why = ref.problem
        if ref.missing is not None and not ref.policy.fills_missing:
            why = f'{ref.missing}; reading it is an error unless missing_sources="fill" is passed'
        if why is not None:
            # As in the names of attributes that cannot be read, the last "@" ends the name of the array.
            name = file if ref.source is None and file != "." else f"{file}:{dataset}"
            found[name.replace("@", "%40")] = f"its source {dataset!r} in {file!r}: {why}"
        elif ref.array is not None:
            found.update(ref.array.storage.unreachable())
    named = dict(list(found.items())[:MAX_NAMED])
    if len(found) > MAX_NAMED:
        named["…"] = f"{len(found) - MAX_NAMED} more sources"
    return named
