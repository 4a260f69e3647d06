"""Small sound HDF5 files: each layout, index, filter, kind of type and link, in the oldest and the newest format."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

__all__ = ["seeds"]

_DATA = np.arange(60, dtype="<i4").reshape(6, 10)


def _layouts(f: h5py.File) -> None:
    f["contiguous"] = _DATA
    space = h5py.h5s.create_simple((4,))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    compact = h5py.h5d.create(f.id, b"compact", h5py.h5t.STD_I16LE, space, plist)
    compact.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(4, dtype="<i2"))
    f.create_dataset("single", data=_DATA, chunks=(6, 10))
    f.create_dataset("fixed", data=_DATA, chunks=(2, 4))
    f.create_dataset("extensible", data=_DATA, chunks=(2, 4), maxshape=(None, 10))
    f.create_dataset("tree", data=_DATA, chunks=(2, 4), maxshape=(None, None))
    early = f.create_dataset("implicit", (6, 10), "<i4", chunks=(3, 5), fillvalue=7)
    early[0] = 1
    f.create_dataset("unwritten", (4,), "f4", fillvalue=2.5)
    f.create_dataset("scalar", data=1.5)
    f.create_dataset("empty", (0, 3), "i4", chunks=(2, 3), maxshape=(None, 3))


def _filters(f: h5py.File) -> None:
    f.create_dataset("gzip", data=_DATA, chunks=(3, 5), compression="gzip")
    f.create_dataset("shuffled", data=_DATA, chunks=(3, 5), compression="gzip", shuffle=True, fletcher32=True)
    f.create_dataset("lzf", data=_DATA, chunks=(3, 5), compression="lzf")
    f.create_dataset("offset", data=_DATA, chunks=(3, 5), scaleoffset=0)
    f.create_dataset("decimal", data=_DATA / 8, chunks=(3, 5), scaleoffset=3)
    f.create_dataset("sum", data=_DATA, chunks=(4, 4), fletcher32=True, maxshape=(None, 10))


def _plugins(f: h5py.File) -> None:
    import hdf5plugin

    for name, options in (
        ("bitshuffle", hdf5plugin.Bitshuffle()), ("blosc", hdf5plugin.Blosc()), ("blosc2", hdf5plugin.Blosc2()),
        ("lz4", hdf5plugin.LZ4()), ("zstd", hdf5plugin.Zstd()), ("bzip2", hdf5plugin.BZip2()),
    ):  # fmt: skip
        f.create_dataset(name, data=_DATA, chunks=(3, 10), **options)


def _types(f: h5py.File) -> None:
    f["bool"] = np.array([True, False])
    f["complex"] = np.arange(3, dtype="c8")
    f["half"] = np.arange(3, dtype=">f2")
    f["bytes"] = np.array([b"a", b"bcd"])
    f["struct"] = np.array([(1, 2.5, b"x")], [("a", "i4"), ("b", ">f8"), ("c", "S3")])
    f["nested"] = np.zeros(2, [("a", [("b", "i2", (2,)), ("c", "u1")]), ("d", "f4")])
    f.create_dataset("enum", data=np.array([0, 1, 0]), dtype=h5py.enum_dtype({"off": 0, "on": 1}, "i1"))
    f.create_dataset("opaque", data=np.zeros(2, "V3"))
    f.create_dataset("array", (2,), np.dtype(("i2", (3,))))
    nbit = h5py.h5t.NATIVE_INT32.copy()
    nbit.set_precision(17)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4,))
    plist.set_filter(h5py.h5z.FILTER_NBIT)
    d = h5py.h5d.create(f.id, b"nbit", nbit, h5py.h5s.create_simple((8,)), plist)
    d.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(8, dtype="i4"))


def _variable(f: h5py.File) -> None:
    f["text"] = np.array(["a", "bb", ""], object)
    f.create_dataset("chunked", data=np.array(["x", "yy", "zzz"], object), chunks=(2,), compression="gzip")
    d = f.create_dataset("sequences", (3,), h5py.vlen_dtype("i2"))
    d[0], d[2] = [1, 2, 3], [4]
    f.create_dataset("record", (2,), [("x", "i4"), ("y", h5py.string_dtype())])[1] = (1, "text")
    f.create_dataset("filled", (3,), h5py.string_dtype(), chunks=(2,), fillvalue="fill")[0] = "set"
    f["scalar"] = "one"


def _tree(f: h5py.File) -> None:
    f["a/b/c"] = np.arange(3)
    f["a/soft"] = h5py.SoftLink("/a/b/c")
    f["hard"] = f["a/b"]
    f["outside"] = h5py.ExternalLink("other.h5", "x")
    f["dangling"] = h5py.SoftLink("nowhere")
    f["reference"] = np.array([f["a"].ref], h5py.ref_dtype)
    d = f["a/b/c"]
    d.attrs["one"] = 1.5
    d.attrs["text"] = "words"
    d.attrs["texts"] = np.array(["p", "q"], object)
    d.attrs["struct"] = np.zeros(1, [("x", "i4"), ("y", "S2")])
    d.attrs["null"] = h5py.Empty("f4")
    d.attrs["reference"] = f["a"].ref
    for i in range(12):
        f["a"].attrs[f"many{i}"] = i
    f["scale"] = np.arange(3.0)
    f["scale"].make_scale("x")
    d.dims[0].attach_scale(f["scale"])


def _many(f: h5py.File) -> None:
    for i in range(20):
        f[f"group/name{i:02}"] = np.arange(i)


def _virtual(f: h5py.File) -> None:
    f["a"] = np.arange(6)
    f["b"] = np.arange(6, 12)
    layout = h5py.VirtualLayout((2, 6), "i8")
    layout[0] = h5py.VirtualSource(".", "a", (6,))
    layout[1, ::2] = h5py.VirtualSource(".", "b", (6,))[:3]
    f.create_virtual_dataset("virtual", layout, fillvalue=-1)


_KINDS: dict[str, Callable[[h5py.File], None]] = {
    "layouts": _layouts, "filters": _filters, "plugins": _plugins, "types": _types, "variable": _variable,
    "tree": _tree, "many": _many, "virtual": _virtual,
}  # fmt: skip


def seeds() -> dict[str, bytes]:
    """One file a kind and version of the format, and one behind a user block."""
    out = {}
    for name, build in _KINDS.items():
        for version in ("earliest", "v110", "latest"):
            if name == "virtual" and version == "earliest":
                continue
            out[f"{name} {version}"] = _file(build, libver=version)
    out["user block"] = _file(_many, libver="latest", userblock_size=512)
    out["pages"] = _file(_layouts, libver="latest", fs_strategy="page", fs_page_size=512)
    return out


def _file(build: Callable[[h5py.File], None], **options: Any) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w", **options) as f:
        build(f)
    return file.getvalue()
