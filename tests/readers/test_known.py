"""Files of other kinds: the error says what a file is and what reads it, by every way to open it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import packstore
from packstore.errors import FormatError

DATA = np.arange(6.0).reshape(2, 3)


def at(offset: int, magic: bytes) -> bytes:
    return bytes(range(1, 256))[:1] * offset + magic + bytes(64)


def npy() -> bytes:
    out = io.BytesIO()
    np.save(out, DATA)
    return out.getvalue()


def npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=DATA)
    return out.getvalue()


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.npy"))
    return out.getvalue()


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
FITS = b"SIMPLE  =                    T".ljust(2880)
KINDS: dict[str, tuple[bytes, str, str]] = {
    "x.png": (PNG, "a PNG image", "imageio"),
    "x.jpg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image", "imageio"),
    "x.gif": (b"GIF89a", "a GIF image", "imageio"),
    "x.tif": (b"II*\0\x08\0\0\0", "a TIFF image", "tifffile.*rasterio"),
    "big.tif": (b"MM\0+\0\x08\0\0", "a BigTIFF image", "tifffile"),
    "x.fits": (FITS, "a FITS file", "astropy"),
    "table.dat": (FITS, "a FITS file", "astropy"),
    "x.dcm": (at(128, b"DICM"), "a DICOM file", "pydicom"),
    "x.nrrd": (b"NRRD0004\ntype: uchar\n", "an NRRD file", "nrrd"),
    "x.nii": (struct.pack("<i", 348) + bytes(340) + b"n+1\0", "a NIfTI file", "nibabel"),
    "x.nii2": (struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n", "a NIfTI-2 file", "nibabel"),
    "x.mrc": (at(208, b"MAP "), "an MRC file", "mrcfile"),
    "x.grib": (b"GRIB\0\0\0\2", "a GRIB file", "cfgrib"),
    "x.hdf": (b"\x0e\x03\x13\x01\0", "an HDF4 file", "pyhdf"),
    "x.mat": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(128), "a MATLAB 5 file", "scipy.io.loadmat"),
    "x.parquet": (b"PAR1\x15\x04", "a Parquet file", "read_parquet"),
    "x.feather": (b"ARROW1\0\0", "an Arrow .Feather. file", "pyarrow"),
    "x.orc": (b"ORC\n\0", "an ORC file", "pyarrow.orc"),
    "x.pdf": (b"%PDF-1.7\n", "a PDF document", "no arrays"),
    "x.7z": (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive", "Unpack"),
    "x.tar": (tar(), "a tar archive", "Unpack"),
    "x.root": (b"root\0\0\xf2\x40", "a ROOT file", "uproot"),
    "x.safetensors": (struct.pack("<Q", 20) + b'{"a":{"dtype":"F32"}', "a safetensors file", "safetensors"),
    "lfs.npy": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer", "git lfs pull"),
    "x.npy.html": (b"<!DOCTYPE html><html>", "an HTML page", "failed download"),
    "x.npy.gz": (gzip.compress(npy()), "gzip of an npy file", r"gunzip -k x\.npy\.gz"),
    "x.npy.bz2": (bz2.compress(npy()), "bzip2 of an npy file", "bunzip2"),
    "x.npy.xz": (lzma.compress(npy()), "xz of an npy file", "unxz"),
    "x.npy.zst": (b"\x28\xb5\x2f\xfd\x24\x01", r"zstd of a \.npy file", "unzstd"),
    "x.npz.gz": (gzip.compress(npz()), "gzip of a zip archive", "gunzip"),
    "x.h5.gz": (gzip.compress(b"\x89HDF\r\n\x1a\n" + bytes(90)), "gzip of an HDF5 file", "gunzip"),
    "x.nii.gz": (gzip.compress(struct.pack("<i", 348) + bytes(340) + b"n+1\0"), "gzip of a NIfTI file", "gunzip"),
    "x.fits.gz": (gzip.compress(FITS), "gzip of a FITS file", "gunzip"),
    "x.tar.gz": (gzip.compress(tar()), "gzip of a tar archive", "gunzip"),
    "x.log.gz": (gzip.compress(b"1 2 3\n"), "gzip of text", "gunzip"),
    "cut.npy.gz": (gzip.compress(npy())[:10], r"gzip of a \.npy file", "gunzip"),
    "utf16.log": ("1,2\n".encode("utf-16"), "text in UTF-16", 'encoding="utf-16"'),
    "table.log": (b"1 2\n3 4\n", "text under a name", 'format="text"'),
    "zeros.npy": (bytes(5000), "a file that begins with zeros", "do so again"),
    "x.bin": (b"\x01\xfe\x03\x04\x05\x06\x07\x08", r"\(01 fe 03", 'format="raw"'),
    "empty.dat": (b"", "an empty file", "Nothing was written"),
    "empty.npy": (b"", "an empty file", "Nothing was written"),
    "empty.csv.gz": (gzip.compress(b""), r"gzip of a \.csv file", "gunzip"),
}
OPENING = (packstore.open, packstore.open_array, packstore.open_group, packstore.open_store, packstore.from_file)


@pytest.mark.parametrize("name", KINDS)
def test_it_is_named(tmp_path: Path, name: str) -> None:
    content, kind, hint = KINDS[name]
    path = tmp_path / name
    path.write_bytes(content)
    for opening in OPENING:
        with pytest.raises(
            FormatError, match=rf"recognising .*{name}: expected one of npy, .*, got .*{kind}.*\. .*{hint}"
        ):
            opening(path)


def test_an_sqlite_database_is_named(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute("create table t (a)")
    database.close()
    with pytest.raises(FormatError, match="got an SQLite database"):
        packstore.open(tmp_path / "x.db")


ARCHIVES: dict[str, tuple[tuple[str, ...], str]] = {
    "office": (("[Content_Types].xml", "word/document.xml"), "an office document"),
    "excel": (("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook.*read_excel"),
    "torch": (("m/data.pkl", "m/data/0", "m/version"), "a PyTorch file.*torch.load"),
    "keras": (("config.json", "model.weights.h5"), "a Keras model"),
    "other": (("a.txt", "b.txt", "c/d.png"), r"a zip archive of other files \('a.txt', 'b.txt', 'c/d.png'\).*Unzip"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_zip_archive_without_npy_is_named(tmp_path: Path, name: str) -> None:
    members, kind = ARCHIVES[name]
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, b"x")
    for opening in OPENING:
        with pytest.raises(FormatError, match=rf"x\.npz: expected an archive with \.npy members, got {kind}"):
            opening(path)


@pytest.mark.parametrize("document", ["zarr.json", ".zarray"])
def test_a_zarr_store_deep_in_a_zip_archive_is_named(tmp_path: Path, document: str) -> None:
    """At the top of an archive it opens."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(f"deep/er/{document}", "{}")
        archive.writestr("readme.txt", "x")
    for opening in OPENING:
        with pytest.raises(FormatError, match=r"got a zarr store below folders of a zip archive\. Unzip it and open"):
            opening(tmp_path / "x.zip")


def test_an_archive_of_nothing_stays_an_empty_group(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz")
    assert list(packstore.open_group(tmp_path / "x.npz").keys()) == []


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="got an empty folder"):
        packstore.open(tmp_path)


def test_an_empty_table_is_read_where_it_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "x.dat").write_bytes(b"")
    assert packstore.open_array(tmp_path / "x.dat", format="text").shape == (0,)


def test_its_neighbours_in_a_folder_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", DATA)
    (tmp_path / "b.png").write_bytes(PNG)
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(DATA))
    (tmp_path / "d.dat").write_bytes(b"")
    group = packstore.open_group(tmp_path)
    assert sorted(group.keys()) == ["a.npy", "c.pkl"]
    assert "a PNG image" in group.unsupported["b.png"] and "an empty file" in group.unsupported["d.dat"]
