"""Processes that never import packstore find its codecs by their entry points."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr

from packstore.codecs.bitpack import BitPack
from packstore.codecs.packbits import PackBitsCodec

PROGRAM = """
import sys
import zarr
z = zarr.open_array(sys.argv[1], mode="r")
print(int(z[...].sum()), z.fill_value, "packstore.codecs.packbits" in sys.modules)
"""


def _mask() -> np.ndarray:
    return np.random.default_rng(5).random((40, 60)) < 0.3


@pytest.fixture
def packed(tmp_path: Path) -> str:
    path = tmp_path / "mask.zarr"
    z = zarr.create_array(path, shape=(40, 60), chunks=(16, 16), dtype=bool, serializer=PackBitsCodec())
    z[...] = _mask()
    return str(path)


def test_fresh_interpreter(packed: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, packed], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(int(_mask().sum())), "False", "True"]


def test_fresh_interpreter_with_a_zarr_v2_filter(tmp_path: Path) -> None:
    z = zarr.create_array(
        tmp_path, shape=(40, 60), chunks=(16, 16), dtype=bool, zarr_format=2, filters=[BitPack()], compressors=None
    )
    z[...] = _mask()
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == [str(int(_mask().sum())), "False"]


def test_fresh_interpreter_gets_the_numcodecs_codec() -> None:
    program = "import numcodecs; print(numcodecs.get_codec({'id': 'bitpack', 'dtype': '<u2', 'last_bit': 9}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(BitPack("<u2", last_bit=9))
    assert numcodecs.get_codec({"id": "bitpack"}) == BitPack()


def _read(path: str) -> tuple[int, int]:
    import os

    import numpy as np
    import zarr

    return int(np.asarray(zarr.open_array(path, mode="r")[...]).sum()), os.getpid()


def test_distributed_worker(packed: str) -> None:
    import os

    # The function travels by value, so that the worker imports nothing of this test or of packstore beforehand.
    import cloudpickle
    from distributed import Client, LocalCluster

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        with (
            LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
            Client(cluster) as client,
        ):
            total, pid = client.submit(_read, packed, pure=False).result(timeout=60)
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert total == int(_mask().sum())
    assert pid != os.getpid()
