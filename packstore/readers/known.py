"""Files of other kinds: the first bytes go in, what the file is and what reads it come out, for error messages."""

from __future__ import annotations

import bz2
import contextlib
import lzma
import os
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from packstore.source import DirectorySource, Source

__all__ = ["Kind", "archive_kind", "kind_of", "magic_kind"]


class Kind(NamedTuple):
    """What a file is, as a phrase, and what to do with it, as a sentence."""

    name: str
    hint: str


class _Magic(NamedTuple):
    offset: int
    magic: bytes
    name: str
    # What reads it; where it holds a blank, a sentence of its own.
    tool: str


_TIFF = "tifffile.imread reads it (rasterio.open, where it is a GeoTIFF)"
_IMAGE = "imageio.v3.imread"
_MAGICS = (
    _Magic(0, b"\x89PNG\r\n\x1a\n", "a PNG image", _IMAGE),
    _Magic(0, b"\xff\xd8\xff", "a JPEG image", _IMAGE),
    _Magic(0, b"GIF8", "a GIF image", _IMAGE),
    _Magic(8, b"WEBP", "a WebP image", _IMAGE),
    _Magic(0, b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image", "glymur.Jp2k"),
    _Magic(0, b"\xff\x4f\xff\x51", "a JPEG 2000 code stream", "glymur.Jp2k"),
    _Magic(0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image", "imagecodecs.imread"),
    _Magic(0, b"v/1\x01", "an OpenEXR image", "OpenEXR.File"),
    _Magic(0, b"8BPS", "a Photoshop image", "psd_tools.PSDImage.open"),
    _Magic(0, b"II*\0", "a TIFF image", _TIFF),
    _Magic(0, b"MM\0*", "a TIFF image", _TIFF),
    _Magic(0, b"II+\0", "a BigTIFF image", _TIFF),
    _Magic(0, b"MM\0+", "a BigTIFF image", _TIFF),
    _Magic(0, b"ZISRAWFILE", "a Zeiss CZI image", "czifile.imread"),
    _Magic(0, b"\xda\xce\xbe\x0a", "a Nikon ND2 image", "nd2.imread"),
    _Magic(0, b"SIMPLE  =", "a FITS file", "astropy.io.fits.open"),
    _Magic(0, b"XTENSION=", "a FITS file", "astropy.io.fits.open"),
    _Magic(128, b"DICM", "a DICOM file", "pydicom.dcmread"),
    _Magic(0, b"NRRD000", "an NRRD file", "nrrd.read"),
    _Magic(344, b"n+1\0", "a NIfTI file", "nibabel.load"),
    _Magic(344, b"ni1\0", "the header of a NIfTI pair", "nibabel.load"),
    _Magic(4, b"n+2\0\r\n\x1a\n", "a NIfTI-2 file", "nibabel.load"),
    _Magic(208, b"MAP ", "an MRC file", "mrcfile.open"),
    _Magic(0, b"GRIB", "a GRIB file", "xarray.open_dataset(…, engine='cfgrib') reads it"),
    _Magic(0, b"BUFR", "a BUFR file", "eccodes.codes_bufr_new_from_file"),
    _Magic(0, b"\x0e\x03\x13\x01", "an HDF4 file", "pyhdf.SD.SD reads it, or h4toh5 makes an HDF5 file of it"),
    _Magic(0, b"\xcd\xf3\0\x01", "a NASA CDF file", "cdflib.CDF"),
    _Magic(0, b"MATLAB 5.0 MAT-file", "a MATLAB 5 file", "scipy.io.loadmat"),
    _Magic(0, b"PAR1", "a Parquet file", "pandas.read_parquet"),
    _Magic(0, b"ARROW1", "an Arrow (Feather) file", "pyarrow.feather.read_table"),
    _Magic(0, b"FEA1", "a Feather file of version 1", "pyarrow.feather.read_table"),
    _Magic(0, b"ORC", "an ORC file", "pyarrow.orc.read_table"),
    _Magic(0, b"Obj\x01", "an Avro file", "fastavro.reader"),
    _Magic(0, b"root\0", "a ROOT file", "uproot.open"),
    _Magic(0, b"LASF", "a LAS point cloud", "laspy.read"),
    _Magic(0, b"GGUF", "a GGUF model", "gguf.GGUFReader"),
    _Magic(2, b"b2frame\0", "a Blosc2 frame", "blosc2.open"),
    _Magic(8, b"WAVE", "a WAV sound", "scipy.io.wavfile.read"),
    _Magic(0, b"fLaC", "a FLAC sound", "soundfile.read"),
    _Magic(8, b"AVI ", "an AVI video", _IMAGE),
    _Magic(4, b"ftyp", "an MP4 or HEIF file", _IMAGE),
    _Magic(0, b"SQLite format 3\0", "an SQLite database", "sqlite3.connect"),
    _Magic(0, b"%PDF-", "a PDF document", "It holds no arrays"),
    _Magic(0, b"\x7fELF", "a program or library (ELF)", "It holds no arrays"),
    _Magic(0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it first (7z x)"),
    _Magic(0, b"Rar!\x1a\x07", "a RAR archive", "Unpack it first (unrar x)"),
    _Magic(257, b"ustar", "a tar archive", "Unpack it first (tar -xf)"),
    _Magic(0, b"\x1f\x9d", "a file compressed by compress", "Decompress it first (uncompress)"),
    _Magic(0, b"version https://git-lfs", "a Git LFS pointer, and not the data", "Get the data with git lfs pull"),
    _Magic(0, b"# vtk DataFile", "a VTK file", "pyvista.read"),
    _Magic(0, b"<?xml", "an XML document", "xml.etree.ElementTree.parse"),
    _Magic(0, b"<!DOCTYPE", "an HTML page", "Look at it: it may be the error page of a failed download"),
    _Magic(0, b"<!doctype", "an HTML page", "Look at it: it may be the error page of a failed download"),
    _Magic(0, b"<html", "an HTML page", "Look at it: it may be the error page of a failed download"),
)
# What packstore reads, once it is no longer compressed.
_OWN = (
    (b"\x93NUMPY", "an npy file"),
    (b"PK\x03\x04", "a zip archive (npz or another)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x80", "a pickle"),
)
_COMPRESSED = (
    (b"\x1f\x8b", "gzip", "gunzip -k"),
    (b"BZh", "bzip2", "bunzip2 -k"),
    (b"\xfd7zXZ\0", "xz", "unxz -k"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
    (b"\x04\x22\x4d\x18", "lz4", "unlz4"),
)
# bzip2 gives nothing before a block of up to 900 kB is whole.
_MAX_BZIP2_NBYTES = 1 << 20
_INNER_NBYTES = 4096
_RAW_HINT = 'For raw bytes pass format="raw", dtype= and shape='
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f")) + b"\x7f"


def magic_kind(head: bytes) -> Kind | None:
    """The kind of a file that begins with `head`, where its magic bytes tell; None where they do not."""
    for offset, magic, name, tool in _MAGICS:
        if head.startswith(magic, offset):
            return Kind(name, tool if " " in tool else f"{tool} reads it")
    # safetensors: the length of a JSON header, and the header.
    if head[8:10] == b'{"' and 2 <= int.from_bytes(head[:8], "little") < 100 << 20:
        return Kind("a safetensors file", "safetensors.numpy.load_file reads it")
    return None


def kind_of(source: Source, head: bytes) -> Kind:
    """What a source is that no reader recognises.

    Parameters
    ----------
    source
        The source.
    head
        Its first bytes.
    """
    if isinstance(source, DirectorySource):
        return Kind("an empty folder", "Look at the path")
    if source.nbytes == 0:
        hint = 'Nothing was written to it, or a copy failed; format="text" reads it as a table without rows'
        return Kind("an empty file", hint)
    return _compressed(source, head) or magic_kind(head) or _vague_kind(head)


def _compressed(source: Source, head: bytes) -> Kind | None:
    for magic, name, command in _COMPRESSED:
        if head.startswith(magic):
            inner = _inner_name(_inner_head(name, source, head))
            if inner is None:
                suffix = os.path.splitext(os.path.splitext(source.name)[0])[1]
                inner = f"a {suffix} file" if suffix else "something"
            return Kind(f"{name} of {inner}", f"Decompress it first ({command} {os.path.basename(source.name)})")
    return None


def _inner_head(name: str, source: Source, head: bytes) -> bytes:
    """The first bytes behind a compression that the standard library knows; none behind another."""
    with contextlib.suppress(zlib.error, OSError, lzma.LZMAError, EOFError, ValueError):
        if name == "gzip":
            return zlib.decompressobj(31).decompress(head, _INNER_NBYTES)
        if name == "xz":
            return lzma.LZMADecompressor(memlimit=256 << 20).decompress(head, _INNER_NBYTES)
        if name == "bzip2":
            data = bytes(source.pread(0, min(source.nbytes, _MAX_BZIP2_NBYTES)))
            return bz2.BZ2Decompressor().decompress(data, _INNER_NBYTES)
    return b""


def _inner_name(head: bytes) -> str | None:
    if not head:
        return None
    own = next((name for magic, name in _OWN if head.startswith(magic)), None)
    found = magic_kind(head)
    if own is None and found is not None:
        return found.name
    return own or ("text" if _is_text(head) else "unknown bytes")


def _vague_kind(head: bytes) -> Kind:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Kind("what looks like text in UTF-16", 'For a table of numbers pass format="text", encoding="utf-16"')
    if _is_text(head):
        return Kind("text under a name that is not a table's", 'For a table of numbers pass format="text"')
    if not head.strip(b"\0"):
        return Kind("a file that begins with zeros", f"If it was copied or downloaded, do so again. {_RAW_HINT}")
    return Kind(f"bytes of no format that is known here ({head[:8].hex(' ')} …)", _RAW_HINT)


def _is_text(head: bytes) -> bool:
    return head.translate(None, _CONTROLS) == head and b"\xff" not in head


def archive_kind(names: Sequence[str]) -> Kind:
    """What a zip archive is that holds members of these names, and no ``.npy`` among them."""
    last = {name.rpartition("/")[2] for name in names}
    if last & {"zarr.json", ".zarray", ".zgroup"}:
        return Kind("a zarr store below folders of a zip archive", "Unzip it and open the folder of the store")
    if any(name.startswith("xl/") for name in names):
        return Kind("an Excel workbook", "pandas.read_excel reads it")
    if "[Content_Types].xml" in names or "mimetype" in names:
        return Kind("an office document", "It holds no arrays")
    if "data.pkl" in last and "version" in last:
        return Kind("a PyTorch file", "torch.load reads it; save its tensors with np.savez or packstore.save")
    if "model.weights.h5" in names:
        return Kind("a Keras model", "Unzip it and open model.weights.h5")
    shown = ", ".join(repr(name) for name in names[:4]) + (" …" if len(names) > 4 else "")
    return Kind(f"a zip archive of other files ({shown:.200})", "Unzip it and open what is in it")
