"""What the tests of the commands share: one call, its exit code, its output."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from packstore.cli.app import run


class Outcome(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout, strictly JSON."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is no JSON")

        return json.loads(self.out, parse_constant=refuse)


Cli = Callable[..., Outcome]
Fails = Callable[..., str]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command in this process, with output as wide as a pipe's."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture
def fails(cli: Cli) -> Fails:
    """Run a command that must fail as bad input, in one line; returns the line."""

    def call(*arguments: object) -> str:
        plain = cli(*arguments)
        assert plain.code == 2, plain
        assert plain.out == ""
        assert plain.err.startswith("packstore: ") and plain.err.count("\n") == 1 and plain.err.endswith("\n")
        machine = cli(*arguments, "--json")
        assert machine.code == 2
        assert set(machine.json) == {"error", "message"}
        assert plain.err == f"packstore: {machine.json['message']}\n" == machine.err
        return plain.err

    return call
