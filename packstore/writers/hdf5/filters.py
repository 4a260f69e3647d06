"""Filters by the names that h5py's users know; in: the options of `save`, out: filters on a dataset's creation list.

What `compressor=` may be: a name below, None or "none", a filter's number with its values in `compressor_options=`, or
an object of hdf5plugin. ``compression=`` and ``compression_opts=`` are h5py's words for the same.

=============================================  ==========================================================
"gzip", "lzf"                                  in every h5py
"szip"                                         where libhdf5 was built with it; options ``("nn" or "ec", pixels)``
"blosc" "blosc2" "zstd" "lz4" "bitshuffle"     hdf5plugin's filters; `compressor_options=` holds the arguments of
"bzip2" "zfp"                                  hdf5plugin's class, as ``{"cname": "zstd"}``
=============================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from h5py import h5p, h5z

from packstore.errors import MissingFilterError, OptionError, message

__all__ = ["Filters", "filters_of"]

# Name → hdf5plugin's class, and what it calls its level, and the most that may be.
PLUGINS: dict[str, tuple[str, str | None, int]] = {
    "blosc": ("Blosc", "clevel", 9),
    "blosc2": ("Blosc2", "clevel", 9),
    "zstd": ("Zstd", "clevel", 22),
    "lz4": ("LZ4", None, 0),
    "bitshuffle": ("Bitshuffle", None, 0),
    "bzip2": ("BZip2", "blocksize", 9),
    "zfp": ("Zfp", None, 0),
}
NAMES = ("gzip", "lzf", "szip", *PLUGINS, "none")
# These gain from bytes of equal significance together, and do not see to it themselves.
SHUFFLED = ("gzip", "lzf", "zstd", "lz4", "bzip2")
SZIP = {"ec": h5z.SZIP_EC_OPTION_MASK, "nn": h5z.SZIP_NN_OPTION_MASK}
DEFAULT_LEVEL = 4


@dataclass(frozen=True)
class Filters:
    """The filters of a dataset, in libhdf5's order: scale-offset, shuffle, the compressor, Fletcher32.

    Parameters
    ----------
    name
        For errors.
    number
        Of the compressor's filter; None for none.
    options
        Its values.
    level
        Of deflate; None where the compressor is another.
    """

    name: str = "none"
    number: int | None = None
    options: tuple[int, ...] = ()
    level: int | None = None
    shuffle: bool = False
    fletcher32: bool = False
    scaleoffset: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is one, so that the dataset has chunks."""
        return self.number is not None or self.fletcher32 or self.scaleoffset is not None or self.shuffle

    @property
    def ours(self) -> bool:
        """Whether our own encoder makes the chunks, in parallel."""
        return self.number in (None, h5z.FILTER_DEFLATE) and not self.fletcher32 and self.scaleoffset is None

    def put(self, plist: h5p.PropDCID, dtype: np.dtype[Any], *, packed: bool) -> None:
        """Set the filters on a dataset's creation list; raises TypeError for a type that they do not take."""
        if self.scaleoffset is not None:
            if packed or dtype.kind not in "iuf":
                raise TypeError("scaleoffset is for numbers")
            plist.set_scaleoffset(h5z.SO_FLOAT_DSCALE if dtype.kind == "f" else h5z.SO_INT, self.scaleoffset)
        if packed:
            # libhdf5 fills in the parameters (the type's layout) itself.
            plist.set_filter(h5z.FILTER_NBIT, 0, ())
        if self.shuffles(dtype, packed=packed):
            plist.set_shuffle()
        if self.level is not None:
            plist.set_deflate(self.level)
        elif self.number == h5z.FILTER_SZIP:
            plist.set_szip(*self.options)
        elif self.number is not None:
            plist.set_filter(self.number, h5z.FLAG_OPTIONAL if self.number == h5z.FILTER_LZF else 0, self.options)
        if self.fletcher32:
            plist.set_fletcher32()

    def shuffles(self, dtype: np.dtype[Any], *, packed: bool) -> bool:
        """Whether filter 2 is set for such elements."""
        return self.shuffle and not packed and dtype.itemsize > 1


def filters_of(
    path: object,
    compressor: Any,
    options: Any = None,
    *,
    level: int | None = None,
    shuffle: bool | None = None,
    fletcher32: bool = False,
    scaleoffset: int | None = None,
) -> Filters:
    """The filters that the options of `save` mean.

    Raises
    ------
    OptionError
        No such compressor, or options that it does not take.
    MissingFilterError
        A filter that is not installed.
    """
    if scaleoffset is not None and (isinstance(scaleoffset, float) or scaleoffset < 0):
        raise _refuse(path, "scaleoffset a number of digits or bits", scaleoffset)
    if scaleoffset is not None and fletcher32:
        raise _refuse(path, "fletcher32 or scaleoffset", "both", "Lossy data do not keep their checksum")
    name, number, values, deflate = _compressor(path, compressor, options, level)
    return Filters(
        name,
        number,
        values,
        deflate,
        name in SHUFFLED if shuffle is None else bool(shuffle and (number is not None or fletcher32)),
        bool(fletcher32),
        # As h5py has it, True is for integers in as few bits as they take.
        None if scaleoffset is None else 0 if scaleoffset is True else int(scaleoffset),
    )


def _compressor(path: object, given: Any, options: Any, level: Any) -> tuple[str, int | None, tuple[int, ...], Any]:
    """Name, filter number, its values, and the level of deflate."""
    if isinstance(given, str):
        given = given.lower()
    if given is None or given in ("none", False):
        _no_options(path, "none", options)
        return "none", None, (), None
    if isinstance(given, Mapping) and "compression" in given:  # an object of hdf5plugin
        _no_level(path, "an object of hdf5plugin", level)
        name = type(given).__name__
        return name, _available(path, name, given["compression"]), tuple(given.get("compression_opts") or ()), None
    if isinstance(given, int) and not isinstance(given, bool) and given in range(1, 10) and options is None:
        given, level = "gzip", given  # as h5py
    if isinstance(given, (int, np.integer)) and given is not True:
        return _by_number(path, int(given), options, level)
    if given in ("gzip", True):
        level = _gzip_level(path, level, options)
        return "gzip", h5z.FILTER_DEFLATE, (), level
    if given == "lzf":
        _no_level(path, "lzf", level)
        _no_options(path, "lzf", options)
        return "lzf", h5z.FILTER_LZF, (), None
    if given == "szip":
        _no_level(path, "szip", level)
        return "szip", h5z.FILTER_SZIP, _szip(path, options), None
    if not isinstance(given, str) or given not in PLUGINS:
        raise _refuse(
            path, f"compressor one of {', '.join(NAMES)}, a filter's number or an object of hdf5plugin", given
        )
    plugin = _plugin(path, given, options, level)
    return given, _available(path, given, plugin["compression"]), tuple(plugin["compression_opts"]), None


def _gzip_level(path: object, level: Any, options: Any) -> int:
    if options is not None and level is not None:
        raise _refuse(path, "level= or compressor_options=", "both")
    found = level if options is None else options
    found = DEFAULT_LEVEL if found is None else found
    if isinstance(found, bool) or found not in range(1, 10):
        raise _refuse(path, "level 1 to 9", found, "compressor=None turns compression off")
    return int(found)


def _by_number(path: object, number: int, options: Any, level: Any) -> tuple[str, int, tuple[int, ...], int | None]:
    name = f"filter {number}"
    if number == h5z.FILTER_DEFLATE:
        given = options[0] if isinstance(options, (tuple, list)) and len(options) == 1 else options
        return "gzip", number, (), _gzip_level(path, level, given)
    _no_level(path, name, level)
    values = () if options is None else options
    if not isinstance(values, (tuple, list)) or not all(isinstance(v, (int, np.integer)) for v in values):
        raise _refuse(path, f"compressor_options a tuple of integers for {name}", options)
    if number == h5z.FILTER_SZIP and not values:
        values = _szip(path, None)
    return name, _available(path, name, number), tuple(int(v) for v in values), None


def _szip(path: object, options: Any) -> tuple[int, int]:
    if not (h5z.filter_avail(h5z.FILTER_SZIP) and h5z.get_filter_info(h5z.FILTER_SZIP) & 1):
        raise MissingFilterError(
            message("writing", path, expected="a libhdf5 that writes szip", got="one that does not")
        )
    coding, pixels = ("nn", 8) if options is None else options
    if coding not in SZIP or pixels not in range(2, 33, 2):
        raise _refuse(path, 'compressor_options ("nn" or "ec", an even number of pixels up to 32)', options)
    return SZIP[coding], int(pixels)


def _plugin(path: object, name: str, options: Any, level: Any) -> Mapping[str, Any]:
    try:
        import hdf5plugin
    except ImportError as error:
        raise _missing(path, name) from error
    class_name, level_name, most = PLUGINS[name]
    if options is not None and not isinstance(options, Mapping):
        raise _refuse(path, f"compressor_options a dict of hdf5plugin.{class_name}'s arguments", options)
    arguments = dict(options or {})
    if level is not None:
        if level_name is None:
            _no_level(path, name, level)
        if isinstance(level, bool) or level not in range(1, most + 1):
            raise _refuse(path, f"level 1 to {most} for {name}", level)
        arguments[str(level_name)] = level
    try:
        found: Mapping[str, Any] = getattr(hdf5plugin, class_name)(**arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise _refuse(path, f"arguments of hdf5plugin.{class_name}", f"{arguments} ({error})") from error
    return found


def _available(path: object, name: str, number: Any) -> int:
    if not h5z.filter_avail(number):
        try:
            import hdf5plugin  # noqa: F401 - it registers its filters
        except ImportError:
            raise _missing(path, name) from None
        if not h5z.filter_avail(number):
            raise _missing(path, f"HDF5 filter {number}")
    return int(number)


def _missing(path: object, name: str) -> MissingFilterError:
    return MissingFilterError(
        message(
            "writing",
            path,
            expected=f"the package of {name}",
            got="none installed",
            hint="pip install hdf5plugin",
        )
    )


def _no_level(path: object, name: str, level: Any) -> None:
    if level is not None:
        raise _refuse(path, f"no level= for {name}", level, "Say it in compressor_options=")


def _no_options(path: object, name: str, options: Any) -> None:
    if options is not None:
        raise _refuse(path, f"no compressor_options= for {name}", options)


def _refuse(path: object, expected: str, got: Any, hint: str | None = None) -> OptionError:
    return OptionError(message("writing", path, expected=expected, got=got if got == "both" else repr(got), hint=hint))
