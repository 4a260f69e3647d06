"""The benchmark command itself, on small data: what it writes, and that a wrong value ends it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import packstore
from packstore.cli.measure import WrongValueError
from tests.benchmarks import __main__ as command
from tests.benchmarks.measure import measure_scenario
from tests.benchmarks.model import Case, Data, Missing, Peer, Run, Scenario
from tests.benchmarks.remote.run import run_remote
from tests.benchmarks.remote.scale import Layout, seconds
from tests.benchmarks.report import missed


# What a peer warns of is not ours to mend.
@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")
def test_command_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--quick", "--rounds", "2", "--only", "packed-full", "--only", "graph-build", "--no-memory"]
    assert command.main([*arguments, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "ratios.json").read_text())
    assert found["environment"]["versions"]["packstore"] == packstore.__version__
    assert found["environment"]["file cache"] == "warm"
    rows = [row for row in found["scenarios"] if row["peer"] == "zarr numcodecs.packbits"]
    assert [row["scenario"] for row in rows] == ["packed-full"]
    assert rows[0]["status"] == "ok" and rows[0]["rounds"] == 2
    low, high = rows[0]["ratio_range"]
    assert 0 < low <= rows[0]["ratio"] <= high
    assert [figure["scenario"] for figure in found["figures"]] == ["graph-build"]
    assert found["figures"][0]["value"] > 0
    assert (tmp_path / "ratios.svg").read_text().lstrip().startswith("<?xml")
    assert "packed zarr, read whole" in capsys.readouterr().out


def test_no_such_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--quick", "--only", "no such", "--out", str(tmp_path)]) == 2
    assert "no such" in capsys.readouterr().err


def _case(*, ours: int = 1, theirs: int = 1) -> Case:
    def absent() -> Run:
        raise Missing("some-package")

    return Case(1, lambda: lambda: ours, (Peer("peer", lambda: lambda: theirs, floor=2), Peer("absent", absent)))


def test_wrong_value_of_ours_ends_it(tmp_path: Path) -> None:
    scenario = Scenario("wrong", "a wrong value", lambda data: _case(ours=2))
    with pytest.raises(WrongValueError, match="wrong: packstore returned another value"):
        measure_scenario(scenario, Data(tmp_path), 1, memory=False)


def test_peers_that_are_wrong_or_missing_are_rows(tmp_path: Path) -> None:
    scenario = Scenario("peers", "peers", lambda data: _case(theirs=3))
    wrong, absent = measure_scenario(scenario, Data(tmp_path), 1, memory=False)
    assert wrong["status"] == "wrong values" and "ratio" not in wrong
    assert absent["status"] == "not installed (some-package)"


def test_missed_floors() -> None:
    assert missed({"floor": 2, "ratio": 1.9}) and not missed({"floor": 2, "ratio": 2.0})
    assert not missed({"floor": None, "ratio": 0.1})
    assert missed({"limit": 3, "value": 3.0}) and not missed({"limit": 3, "value": 2.9})


@pytest.mark.long
def test_few_requests_read_what_lies_in_a_bucket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for package in "moto", "boto3", "s3fs":
        pytest.importorskip(package)
    rows = run_remote(tmp_path, 1, quick=True, peers=False)
    assert {row.status for row in rows} == {"ok"}
    requests = [row.requests for row in rows]
    # HDF5: open, scan, crop, both by dask; npy; npz: open, one, one of many, all of many; many HDF5 datasets; packed
    # zarr: open, crop, scan; files: open, compute.
    limits = [1, 1, 1, 2, 2, 1, 2, 3, 2, 3, 1, 1, 64, 2, 2 * 10 + 1]
    assert len(requests) == len(limits)
    assert all(found <= limit for found, limit in zip(requests, limits, strict=True)), requests
    assert json.loads((tmp_path / "remote.json").read_text())[0]["side"] == "packstore"
    assert "model: a scan of 1 TB" in capsys.readouterr().out


def test_the_model_of_a_large_scan() -> None:
    layout = Layout("chunks of a million bits", 1e6, 1 / 8)
    assert layout.scan(10**9) == (1000, 125e6)
    # 1,000 requests of 50 ms, 10 at once; 125 MB over one line of 100 MB/s.
    assert seconds(1000, 125e6, workers=1, concurrency=10) == 5.0
    assert seconds(10, 125e6, workers=1, concurrency=10) == 1.25


@pytest.mark.long
def test_first_second_in_whole_processes(tmp_path: Path) -> None:
    arguments = ["--quick", "--rounds", "1", "--first", "--only", "npy", "--only", "zarr-packed"]
    assert command.main([*arguments, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "first.json").read_text())
    rows = {(row["job"], row["side"]): row for row in found["rows"]}
    assert all(row["status"] == "ok" and row["ms"] > 0 for row in rows.values() if row["ours"])
    assert {job for job, _ in rows} == {"npy", "zarr-packed"}
    # Nothing but `open_array` needs zarr.
    assert {side for (_, side), row in rows.items() if row["ours"] and row["imports_zarr"]} == {"open_array"}
    assert found["imports_ms"]["packstore"] < found["imports_ms"]["zarr"]


@pytest.mark.long
def test_cold_runs_read_from_the_disk(tmp_path: Path) -> None:
    arguments = ["--quick", "--rounds", "1", "--cold", "--only", "npy-any", "--only", "hdf5-scan-gzip"]
    assert command.main([*arguments, "--out", str(tmp_path), "--data", str(tmp_path / "data")]) == 0
    found = json.loads((tmp_path / "cold.json").read_text())
    assert found["environment"]["file cache"] == "cold"
    for row in found["scenarios"]:
        assert row["status"] == "ok" or row["peer"] in ("VirtualiZarr", "kerchunk"), row
        assert row.get("ratio", 1) > 0 and row.get("ours_disk_nbytes", 0) >= 0


@pytest.mark.long
def test_threads_and_many(tmp_path: Path) -> None:
    data = ["--data", str(tmp_path / "data"), "--out", str(tmp_path)]
    assert command.main(["--quick", "--rounds", "2", "--threads", *data]) == 0
    for row in json.loads((tmp_path / "threads.json").read_text())["rows"]:
        assert 0 <= row["serial"] <= 1
        assert row["model_ms"]["16"] <= row["model_ms"]["4"] <= row["one_ms"] or row["memory_floor_ms"] > 0
    assert command.main(["--quick", "--many", *data]) == 0
    rows = json.loads((tmp_path / "many.json").read_text())["rows"]
    assert {row["side"] for row in rows} == {"packstore", "h5py", "np.load"}
    assert all(row["scan_s"] > 0 for row in rows)


@pytest.mark.long
def test_prototype_gives_the_same_values(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    assert command.main(["--quick", "--rounds", "1", "--prototype", "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "prototype.json").read_text())["rows"]
    assert len(rows) == 4 and all(row["ratio"] > 0 for row in rows)
