"""What `packstore bench` says about its figures: the table, the verdicts and their reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from packstore.cli.show import human, plain

__all__ = ["reasons", "render"]

Rows = Mapping[str, Mapping[str, Any]]

# Why a format is as it is, for what it may be best at: size, reading, crops.
_AS_IT_IS, _MAPPED = "compression gains nothing here", "mapped: nothing to decode"
_TOUCHED, _KEPT = "only the crop's own bytes are touched", "only the chunks below a crop are decoded, and kept"
_CHUNKS = "few bytes to read, chunks decoded in parallel"
WHY = {
    "npy": (_AS_IT_IS, _MAPPED, f"mapped: {_TOUCHED}"),
    "raw": (f"{_AS_IT_IS}, and there is no header", _MAPPED, f"mapped: {_TOUCHED}"),
    "npz": (_AS_IT_IS, f"stored, so {_MAPPED}", f"stored, so mapped: {_TOUCHED}"),
    "npz compressed": (
        "deflate",
        "few bytes to read, blocks inflated in parallel",
        "only the blocks below a crop are inflated, and kept",
    ),
    "zarr": ("zstd on each chunk (bool: on packed bits)", _CHUNKS, _KEPT),
    "zarr uncompressed": (
        "no compression (bool: packed bits)",
        "nothing to decompress, chunks in parallel",
        "only the crop's own bytes of each chunk are read",
    ),
    "zarr unpacked": ("zstd on each chunk", _CHUNKS, _KEPT),
    "hdf5": ("shuffle and deflate on each chunk", f"{_CHUNKS} outside libhdf5's lock", _KEPT),
    "hdf5 packed": ("one bit an element, and deflate", f"{_CHUNKS} outside libhdf5's lock", _KEPT),
    "packed bits": (
        "one bit an element, and no header",
        "an eighth of the bytes, unpacked as fast as memory",
        "only the crop's own bytes are read, an eighth of those of npy",
    ),
}

KEYS = {"size": "stored_nbytes", "reading": "read_s", "crops": "crops_s"}
# Times this near to the best are no difference.
TIE = 1.05
# Below it the times are those of opening files and of Python.
SMALL_NBYTES = 1 << 20


def reasons(rows: Rows, nbytes: int, crops: int) -> dict[str, dict[str, Any]]:
    """The best format for size, for reading and for crops, and why.

    Examples
    --------
    >>> row = {"stored_nbytes": 10, "read_s": 1e-6, "crops_s": 1e-3}
    >>> found = reasons({"npy": row, "zarr": {**row, "stored_nbytes": 2}}, 20, 100)
    >>> found["size"]["format"], found["crops"]["ties"]
    ('zarr', ['zarr'])
    >>> found["size"]["why"]
    '2 B for 20 B in memory: zstd on each chunk (bool: on packed bits); next npy, 5x larger'
    """
    figures: dict[str, Callable[[float], str]] = {
        "size": lambda x: f"{human(x)} for {human(nbytes)} in memory",
        "reading": lambda x: f"{nbytes / max(x, 1e-9) / 1e9:.3g} GB/s into memory",
        "crops": lambda x: f"{x / max(crops, 1) * 1e6:.3g} µs a crop",
    }
    found = {}
    for i, (what, key) in enumerate(KEYS.items()):
        order = sorted(rows, key=lambda label: rows[label][key])
        best = order[0]
        value = rows[best][key]
        tie = 1.0 if what == "size" else TIE
        ties = [label for label in order[1:] if rows[label][key] <= value * tie]
        text = f"{figures[what](value)}: {WHY[best][i]}"
        if ties:
            text += f"; as good: {', '.join(ties)}"
        rest = [label for label in order[1:] if label not in ties]
        if rest and value > 0:
            ratio = rows[rest[0]][key] / value
            text += f"; next {rest[0]}, {ratio:.3g}x {'larger' if what == 'size' else 'slower'}"
        found[what] = {"format": best, "why": text, "ties": ties}
    return found


def render(console: Console, result: dict[str, Any]) -> None:
    """The table, the verdicts, and how it was measured."""
    measured, method = result["measured"], result["method"]
    table = Table(title=Text(f"{tuple(result['shape'])} {plain(result['dtype'])}, {human(result['nbytes'])}"))
    table.add_column("format")
    for column in ("on disk", "ratio", "write s", "open ms", "full read ms", f"{method['crops']} crops ms"):
        table.add_column(column, justify="right")
    failed = {}
    for name, row in result["formats"].items():
        if "error" in row:
            failed[name] = row["error"]
            continue
        kept = "" if row["dtype"] == result["dtype"] else f" (as {row['dtype']})"
        table.add_row(
            name + kept,
            human(row["stored_nbytes"]),
            f"{measured['nbytes'] / max(row['stored_nbytes'], 1):.2f}",
            f"{row['write_s']:.3f}",
            f"{row['open_s'] * 1e3:.1f}",
            f"{row['read_s'] * 1e3:.1f}",
            f"{row['crops_s'] * 1e3:.1f}",
        )
    console.print(table)
    for what, verdict in result["best"].items():
        console.print(f"best for {what}: {verdict['format']} ({verdict['why']})", soft_wrap=True)
    for name, why in failed.items():
        console.print(f"not possible as {name}: {plain(why)}", soft_wrap=True)
    if measured["nbytes"] < SMALL_NBYTES:
        console.print("so small an array says little about times", soft_wrap=True)
    if not measured["whole"]:
        shown = f"{tuple(measured['shape'])} of it, {human(measured['nbytes'])}"
        console.print(f"only the first {shown}, was measured; --max-size takes more", soft_wrap=True)
    versions = ", ".join(f"{k} {v}" for k, v in method["versions"].items())
    rounds = f"{method['rounds']} of {method['rounds_wanted']} interleaved rounds"
    if method["rounds"] < method["rounds_wanted"]:
        rounds += " (time was up)"
    console.print(
        f"best of {rounds}; {method['cache']}; writes {method['write']}; crops of {tuple(method['crop_shape'])}; "
        f"{method['cores']} cores, {method['system']} {method['machine']}, Python {method['python']}, {versions}",
        soft_wrap=True,
    )
