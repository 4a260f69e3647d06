"""Run the jobs, print the table and the model."""

from __future__ import annotations

import json
import logging
import time
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.benchmarks.model import Case, Missing, equal
from tests.benchmarks.remote.jobs import Remote, jobs
from tests.benchmarks.remote.scale import ELEMENTS, WORKERS, layouts, seconds
from tests.benchmarks.remote.server import Bucket, bucket_server

__all__ = ["Row", "run_remote"]


@dataclass
class Row:
    """What one side took for one job: the shortest time of all rounds, and what that round asked for.

    Parameters
    ----------
    status
        "ok", "WRONG VALUES", or why there are none.
    """

    job: str
    side: str
    status: str
    requests: int = 0
    nbytes: int = 0
    peak: int = 0
    seconds: float = float("inf")


def run_remote(
    out: Path,
    rounds: int,
    *,
    quick: bool = False,
    latency_s: float = 0.0,
    nbytes_per_s: float | None = None,
    peers: bool = True,
) -> list[Row]:
    """Measure all jobs in interleaved rounds; print them, and write them to ``remote.json`` in `out`.

    Parameters
    ----------
    quick
        Few and small objects.
    latency_s, nbytes_per_s
        What each request waits for, and how fast its answer comes; None: at once.
    peers
        Whether other libraries run, too.
    """
    rows: dict[tuple[int, str], Row] = {}
    # Sessions of peers are collected outside of the event loops that they belong to, which asyncio complains of.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    with bucket_server(latency_s, nbytes_per_s) as bucket, warnings.catch_warnings():
        # Of codecs without a specification, which is not ours to mend.
        warnings.simplefilter("ignore")
        remote = Remote(bucket, quick=quick)
        for number in range(rounds):
            prefix = f"round-{number}"
            remote.upload(prefix)
            for position, (name, build) in enumerate(jobs(remote, prefix)):
                case = build()
                _measure(bucket, rows, position, name, case if peers else replace(case, peers=()))
        found = [rows[key] for key in sorted(rows, key=lambda key: key[0])]
        _print(found, latency_s, nbytes_per_s)
        if latency_s:
            _check_model(found, remote, latency_s)
    _print_model()
    out.mkdir(parents=True, exist_ok=True)
    (out / "remote.json").write_text(json.dumps([asdict(row) for row in found], indent=2))
    return found


def _measure(bucket: Bucket, rows: dict[tuple[int, str], Row], position: int, name: str, case: Case) -> None:
    sides = [("packstore", case.ours), *((peer.name, peer.make) for peer in case.peers)]
    for side, make in sides:
        row = Row(name, side, "ok")
        try:
            call = make()
            bucket.reset()
            start = time.perf_counter()
            value = call()
            row.seconds = time.perf_counter() - start
            row.requests, row.nbytes, row.peak = bucket.requests, bucket.nbytes, bucket.peak
            if not equal(case.expected, value):
                row.status = "WRONG VALUES"
        except (ImportError, Missing) as error:
            row.status = f"not installed: {error}"
        except Exception as error:  # whatever a peer raises is its result
            if side == "packstore":
                raise
            row.status = type(error).__name__
        before = rows.get((position, side))
        if before is None or row.status != "ok" or (before.status == "ok" and row.seconds < before.seconds):
            rows[position, side] = row


def _print(rows: list[Row], latency_s: float, nbytes_per_s: float | None) -> None:
    line = "" if nbytes_per_s is None else f", {nbytes_per_s / 1e6:g} MB/s a request"
    print(f"{latency_s * 1e3:g} ms a request{line}; shortest time of the rounds")
    print(f"{'job':46} {'side':24} {'requests':>8} {'at once':>8} {'MB':>7} {'seconds':>8}")
    for row in rows:
        if row.status == "ok":
            figures = f"{row.requests:8} {row.peak:8} {row.nbytes / 1e6:7.2f} {row.seconds:8.3f}"
        else:
            figures = row.status
        print(f"{row.job:46} {row.side:24} {figures}")


def _check_model(rows: list[Row], remote: Remote, latency_s: float) -> None:
    """Hold the model against the scan of the packed zarr: one worker, as many requests at once as packstore makes."""
    from packstore import config

    scans = [row for row in rows if row.side == "packstore" and row.job == "  scan"]
    row = scans[-1]
    many = int(config.get("remote.concurrency"))
    # The last requests are waited for together, too.
    expected = seconds(
        -(-row.requests // many) * many, 0, workers=1, latency_s=latency_s, concurrency=many, nbytes_per_s=None
    )
    print(
        f"\nmodel and measurement, packed zarr of {remote.mask.size / 1e6:.1f} M elements in {row.requests} requests: "
        f"{expected:.3f} s, {row.seconds:.3f} s ({row.seconds / expected:.2f})"
    )


def _print_model() -> None:
    print(f"\nmodel: a scan of {ELEMENTS / 8e12:g} TB of packed bits on S3 by {WORKERS} workers")
    print(f"{'layout':40} {'requests':>12} {'TB':>7} {'seconds':>9}")
    for layout in layouts():
        requests, nbytes = layout.scan()
        print(f"{layout.name:40} {requests:12,} {nbytes / 1e12:7.3f} {seconds(requests, nbytes):9.0f}")


def main_options(options: Any) -> dict[str, Any]:
    """The keyword arguments of `run_remote` among the options of the command."""
    speed = options.bandwidth * 1e6 if options.bandwidth else None
    return {"quick": options.quick, "latency_s": options.latency, "nbytes_per_s": speed}
