"""Metadata documents as zarr reads them: what the specification allows, and zarr's parser refuses, is spelled out.

Source: the Zarr v3 core specification (https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html), "Extension
definition": a plain name stands for an object with that name and no configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["bad_group", "spelled_out"]

_GROUP_KEYS = {"zarr_format", "node_type", "attributes", "consolidated_metadata"}


def spelled_out(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A ``zarr.json`` without short forms.

    Notes
    -----
    Groups also lose the fields that need not be understood, which zarr 3.1 refuses, and their consolidated metadata:
    it may be older than what is there.

    Examples
    --------
    >>> spelled_out({"node_type": "array", "codecs": ["bytes"], "data_type": {"name": "int8"}})
    {'node_type': 'array', 'codecs': [{'name': 'bytes'}], 'data_type': 'int8'}
    """
    if document.get("node_type") == "group":
        return {k: v for k, v in document.items() if k != "consolidated_metadata" and not _may_be_ignored(k, v)}
    out = dict(document)
    for key in ("chunk_grid", "chunk_key_encoding"):
        if key in out:
            out[key] = _named(out[key])
    if "codecs" in out:
        out["codecs"] = _codecs(out["codecs"])
    # Here it is the other way round: zarr knows its own data types by their plain names only.
    name = out.get("data_type")
    if isinstance(name, dict) and isinstance(name.get("name"), str) and not name.get("configuration"):
        out["data_type"] = name["name"]
    return out


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _codecs(codecs: Any) -> Any:
    if not isinstance(codecs, list):
        return codecs
    out = []
    for codec in map(_named, codecs):
        inner = codec.get("configuration") if isinstance(codec, dict) else None
        if isinstance(inner, dict) and codec.get("name") == "sharding_indexed":
            lists = {k: _codecs(inner[k]) for k in ("codecs", "index_codecs") if k in inner}
            codec = {**codec, "configuration": {**inner, **lists}}
        out.append(codec)
    return out


def _may_be_ignored(key: str, value: Any) -> bool:
    return key not in _GROUP_KEYS and isinstance(value, dict) and value.get("must_understand") is False


def bad_group(document: Mapping[str, Any], attributes: Any, version: int) -> str | None:
    """Why zarr refuses a group of these documents; None where it takes it."""
    if document.get("zarr_format") != version:
        return f"its zarr_format is {document.get('zarr_format')!r}, and not {version}"
    if not isinstance(attributes, Mapping):
        return f"its attributes are {type(attributes).__name__}, and no JSON object"
    unknown = sorted(document.keys() - _GROUP_KEYS) if version == 3 else []
    return f"its field {unknown[0]!r} must be understood, and is not known" if unknown else None
