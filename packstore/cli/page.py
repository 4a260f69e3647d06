"""Pages: files go in, one HTML page that says what is in them comes out, for `packstore info --html` and `serve`."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from packstore.cli.info import below
from packstore.readers.find import locate
from packstore.readers.joined import piped
from packstore.views.zarr.html import file_html
from packstore.writers.atomic import atomic_target

__all__ = ["page_of", "write_page"]

STYLE = """body{font:15px system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222;background:#fff}
h1,h2{font-weight:600;overflow-wrap:anywhere}h2{font-size:1.1em;margin-top:2em}td,th{text-align:left;vertical-align:top;
padding:.15em .8em .15em 0}th{font-weight:400;color:#666}td{overflow-wrap:anywhere}"""


def page_of(paths: Iterable[str], component: str | None, options: dict[str, Any]) -> str:
    """A page about files; errors as those of `packstore info`."""
    parts = []
    for given in paths:
        path, wanted, how = piped(given, component, options)
        location = locate(path, **how)
        parts.append(f"<h1>{escape(given)}</h1>{file_html(location, below(location, wanted))}")
    head = f'<meta charset="utf-8"><title>packstore</title><style>{STYLE}</style>'
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def write_page(out: str, page: str, *, overwrite: bool) -> None:
    """Write the page, which replaces another file only as a whole."""
    with atomic_target(out, overwrite=overwrite, folder=False) as target:
        # Names in files are not always text.
        Path(target).write_text(page, encoding="utf-8", errors="backslashreplace")
