"""Packed masks in zarr directories, through `open_array`, plain zarr and dask."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import packstore
from tests.benchmarks.data import crop_all, crop_corners, mask, packed_zarr, take_crops, zarr_array
from tests.benchmarks.model import Case, Data, Missing, Peer, Scenario

__all__ = ["SCENARIOS"]

FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"


@contextlib.contextmanager
def pipeline(path: str | None) -> Iterator[None]:
    """zarr's codec pipeline; an array keeps the one it was opened with."""
    import zarr

    if path is None:
        yield
        return
    if path == FUSED and not hasattr(zarr.core.codec_pipeline, "FusedCodecPipeline"):
        raise Missing("needs zarr 3.3")
    if path.startswith("zarrs"):
        import zarrs  # noqa: F401 (an ImportError tells that it is not there)
    with zarr.config.set({"codec_pipeline.path": path}):
        yield


def _open(path: Path, codec_pipeline: str | None = None) -> Any:
    import zarr

    with pipeline(codec_pipeline):
        return zarr.open_array(path, mode="r")


def _numcodecs_packbits(data: Data) -> Path:
    from zarr.codecs.numcodecs import PackBits

    return zarr_array(data, "packed-numcodecs", mask(data), filters=[PackBits()], compressors=None)


def _crops(open_ours: Callable[[Path], Any], floor: float | None) -> Callable[[Data], Case]:
    """200 crops of a packed mask; `floor` None: only zarr's fused pipeline is the peer."""

    def build(data: Data) -> Case:
        array = mask(data)
        corners = crop_corners(array.shape)
        path = packed_zarr(data, array)

        def peer(codec_pipeline: str | None = None) -> Any:
            return lambda: crop_all(_open(_numcodecs_packbits(data), codec_pipeline), corners)

        peers = (
            Peer("zarr numcodecs.packbits", peer(), floor=floor),
            Peer("zarr numcodecs.packbits, fused", peer(FUSED)),
        )
        return Case(take_crops(array, corners), lambda: crop_all(open_ours(path), corners), peers[floor is None :])

    return build


def _open_fused(path: Path) -> Any:
    try:
        return _open(path, FUSED)
    except Missing:
        return _open(path)


def _crops_zstd(data: Data) -> Case:
    array = mask(data)
    corners = crop_corners(array.shape)
    path = packed_zarr(data, array, "auto")

    def peer() -> Any:
        return crop_all(_open(zarr_array(data, "mask-default", array)), corners)

    def ours() -> Any:
        return crop_all(packstore.open_array(path), corners)

    return Case(take_crops(array, corners), ours, (Peer("zarr default (zstd)", peer, floor=2),))


def _any(data: Data) -> Case:
    import dask.array as da

    array = np.zeros_like(mask(data))

    options = {"compressors": None, "config": {"write_empty_chunks": True}}
    path = zarr_array(data, "zeros-packed", array, serializer=packstore.PackBitsCodec(), **options)

    def written() -> Path:
        from zarr.codecs.numcodecs import PackBits

        return zarr_array(data, "zeros-numcodecs", array, filters=[PackBits()], **options)

    def peer(make: Any, codec_pipeline: str | None = None) -> Any:
        def opened() -> Any:
            where = make()

            def run() -> Any:
                with pipeline(codec_pipeline):
                    return da.any(da.from_zarr(str(where))).compute()

            return run

        return opened

    return Case(
        False,
        lambda: lambda: da.any(packstore.from_file(path)).compute(),
        (
            Peer("zarr numcodecs.packbits", peer(written), floor=3),
            Peer("zarr numcodecs.packbits, fused", peer(written, FUSED)),
            Peer("zarrs packbits", peer(lambda: path, "zarrs.ZarrsCodecPipeline")),
            Peer(
                "zarr default (zstd)", peer(lambda: zarr_array(data, "zeros-default", array, config=options["config"]))
            ),
        ),
    )


def _chunked(data: Data, name: str, chunks: tuple[int, int], **options: Any) -> Path:
    """A quarter of the mask in chunks of another shape."""
    array = mask(data)[: len(mask(data)) // 2, : len(mask(data)) // 2]
    return zarr_array(data, name, array, chunks=chunks, compressors=None, **options)


def _small_chunks(data: Data) -> Case:
    path = _chunked(data, "packed-64k", (256, 256), serializer=packstore.PackBitsCodec())
    array = np.asarray(packstore.open_array(path))

    def numcodecs() -> Any:
        from zarr.codecs.numcodecs import PackBits

        opened = _open(_chunked(data, "packed-64k-numcodecs", (256, 256), filters=[PackBits()]))
        return lambda: opened[...]

    def zarrs() -> Any:
        opened = _open(path, "zarrs.ZarrsCodecPipeline")
        return lambda: opened[...]

    def ours() -> Any:
        opened = packstore.open_array(path)
        return lambda: opened[...]

    assert np.array_equal(array, mask(data)[: len(array), : len(array)])
    return Case(array, ours, (Peer("zarrs packbits", zarrs, floor=4), Peer("zarr numcodecs.packbits", numcodecs)))


def _ragged_crops(data: Data) -> Case:
    chunks = (1000, 1001)
    path = _chunked(data, "packed-ragged", chunks, serializer=packstore.PackBitsCodec())
    array = mask(data)[: len(mask(data)) // 2, : len(mask(data)) // 2]
    corners = crop_corners(array.shape)

    def numcodecs() -> Any:
        from zarr.codecs.numcodecs import PackBits

        return crop_all(_open(_chunked(data, "packed-ragged-numcodecs", chunks, filters=[PackBits()])), corners)

    return Case(
        take_crops(array, corners),
        lambda: crop_all(packstore.open_array(path), corners),
        (Peer("zarr numcodecs.packbits", numcodecs, floor=15),),
    )


def _full(data: Data) -> Case:
    array = mask(data)
    path = packed_zarr(data, array)

    def whole(opened: Any) -> Any:
        return lambda: opened[...]

    def tensorstore() -> Any:
        import tensorstore as ts

        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(zarr_array(data, "mask-default", array))}}
        opened = ts.open(spec, open=True, read=True).result()
        return lambda: opened.read().result()

    return Case(
        array,
        lambda: whole(packstore.open_array(path)),
        (
            Peer("zarrs packbits", lambda: whole(_open(path, "zarrs.ZarrsCodecPipeline")), floor=5),
            Peer("zarr numcodecs.packbits", lambda: whole(_open(_numcodecs_packbits(data)))),
            Peer("tensorstore, zstd bool", tensorstore),
        ),
    )


def _count(axis: int | None, name: str, peer: Callable[[packstore.Array], Any]) -> Callable[[Data], Case]:
    def build(data: Data) -> Case:
        array = mask(data)
        opened = packstore.open_array(packed_zarr(data, array))
        return Case(
            np.count_nonzero(array, axis=axis),
            lambda: lambda: opened.count_nonzero(axis=axis),
            (Peer(name, lambda: lambda: peer(opened), floor=2),),
        )

    return build


def _count_by_dask(opened: packstore.Array) -> Any:
    import dask.array as da

    assert opened.lazy is not None
    return da.count_nonzero(packstore.from_file(opened.lazy.location.path), axis=1).compute()


SCENARIOS = (
    Scenario("packed-crops", "packed zarr, 200 crops, open_array", _crops(packstore.open_array, 20)),
    Scenario("packed-crops-codec", "packed zarr, 200 crops, plain zarr + our codec", _crops(_open, 3)),
    Scenario("packed-crops-codec-fused", "the same, zarr's fused pipeline", _crops(_open_fused, None)),
    Scenario("packed-zstd-crops", "packed + zstd zarr, 200 crops, open_array", _crops_zstd),
    Scenario("packed-any", "packed zarr, any() under dask", _any),
    Scenario("packed-full", "packed zarr, read whole", _full),
    Scenario("packed-64k-full", "packed zarr in chunks of 64 KB, read whole", _small_chunks),
    Scenario("packed-crops-ragged", "packed zarr, rows of 1001 bits, 200 crops", _ragged_crops),
    Scenario(
        "packed-count",
        "packed zarr, count_nonzero()",
        _count(None, "unpack, then np.count_nonzero", lambda z: np.count_nonzero(z[...])),
    ),
    Scenario(
        "packed-count-axis",
        "packed zarr, count_nonzero(axis=1)",
        _count(1, "da.count_nonzero(from_file)", _count_by_dask),
    ),
)
