"""Results as a table, as JSON and as a bar chart."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from packstore.cli.measure import environment

__all__ = ["chart", "about_run", "missed", "print_table", "pyplot", "write_json"]

Row = dict[str, Any]
PACKAGES = ("packstore", "numpy", "zarr", "dask", "numcodecs", "h5py", "imagecodecs", "hdf5plugin")
PEERS = ("zarrs", "virtualizarr", "kerchunk", "tensorstore", "blosc2", "pyfive", "hidefix")


def about_run(cache: str = "warm") -> dict[str, Any]:
    """The machine, the versions, and the state of the file cache."""
    return {**environment(PACKAGES + PEERS), "file cache": cache}


def missed(row: Row) -> bool:
    """Whether a row breaks its floor or its limit."""
    if row.get("limit") is not None and row.get("value") is not None:
        return bool(row["value"] >= row["limit"])
    return row.get("floor") is not None and row.get("ratio") is not None and bool(row["ratio"] < row["floor"])


def print_table(rows: Sequence[Row], figures: Sequence[Row], about: dict[str, Any]) -> None:
    """Everything for the terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        # Piped into a file: no line breaks inside a row.
        console = Console(width=240)
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    console.print(
        f"Python {about['python']}, {about['cores']} CPUs, load {about['load']}, {about['system']} {about['machine']}"
    )
    console.print(f"file cache: {about['file cache']}; {versions}", highlight=False)
    table = Table(title="ours against each peer (ratio: peer's time / ours, of interleaved rounds)")
    for head in ("scenario", "peer"):
        table.add_column(head)
    pairs = [f"{what}, ours / peer" for what in ("CPU ms", "MB read", "peak anon MB")]
    for head in ("ours ms", "peer ms", "ratio", "range", "floor", *pairs):
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(*_cells(row), style="red" if missed(row) else None)
    console.print(table)
    if figures:
        table = Table(title="figures with a limit")
        for head in ("figure", "value", "limit", "unit"):
            table.add_column(head, justify="left" if head in ("figure", "unit") else "right")
        for row in figures:
            value = row["status"] if row["value"] is None else f"{row['value']:.2f}"
            table.add_row(row["title"], value, f"< {row['limit']:g}", row["unit"], style="red" if missed(row) else None)
        console.print(table)


def _cells(row: Row) -> list[str]:
    floor = "" if row["floor"] is None else f"{row['floor']:g}"
    if "ratio" not in row:
        return [row["title"], row["peer"], "", "", row["status"], "", floor, "", "", ""]
    low, high = row["ratio_range"]
    times = [f"{row['ours_ms']:.1f}", f"{row['peer_ms']:.1f}", f"{row['ratio']:.2f}", f"{low:.2f}..{high:.2f}", floor]
    pairs = [_pair(row, "cpu_ms", 1), _pair(row, "nbytes_read", 1e6), _pair(row, "peak_anon_nbytes", 1e6)]
    return [row["title"], row["peer"], *times, *pairs]


def _pair(row: Row, key: str, unit: float) -> str:
    sides = [row.get(f"{side}_{key}") for side in ("ours", "peer")]
    return " / ".join("-" if side is None else f"{side / unit:.1f}" for side in sides)


def write_json(path: Path, rows: Sequence[Row], figures: Sequence[Row], about: dict[str, Any]) -> None:
    """Everything, as numbers."""
    text = json.dumps({"environment": about, "scenarios": list(rows), "figures": list(figures)}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def pyplot() -> Iterator[Any]:
    """Matplotlib's pyplot, for SVG files with readable diffs: text stays text, ids are the same each time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "packstore", "font.size": 8}):
        yield plt


def chart(path: Path, rows: Sequence[Row], about: dict[str, Any]) -> None:
    """Ratios as bars on a logarithmic axis, with the range of the rounds and the promised floors."""
    rows = [row for row in rows if "ratio" in row]
    if not rows:
        return
    with pyplot() as plt:
        figure, axes = plt.subplots(figsize=(9, 0.8 + 0.19 * len(rows)))
        places = range(len(rows))
        ratios = [row["ratio"] for row in rows]
        spread = [
            [row["ratio"] - row["ratio_range"][0] for row in rows],
            [row["ratio_range"][1] - row["ratio"] for row in rows],
        ]
        colours = ["#b34040" if missed(row) else "#3b75af" for row in rows]
        axes.barh(places, ratios, color=colours, xerr=spread, error_kw={"elinewidth": 0.7, "ecolor": "#555555"})
        for place, row in zip(places, rows, strict=True):
            if row["floor"] is not None:
                axes.plot([row["floor"]] * 2, [place - 0.45, place + 0.45], color="black", linewidth=1.2)
        axes.axvline(1, color="#888888", linewidth=0.7)
        axes.set_xscale("log")
        axes.set_yticks(places, [f"{row['title']}  |  {row['peer']}" for row in rows])
        axes.minorticks_off()
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.set_xlabel("times faster than the peer (median; lines: range of the rounds, black: promised)")
        versions = about["versions"]
        axes.set_title(
            f"packstore {versions['packstore']} · Python {about['python']} · zarr {versions['zarr']} · "
            f"{about['cores']} CPUs · {about['file cache']} cache",
            fontsize=8,
        )
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)
