"""Settings: defaults, the environment, budgets of caches, a dask worker's share."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import packstore
from packstore import config
from packstore.source import Fingerprint
from packstore.source.cache import ByteLRU, FileLRU

MIB = 1 << 20


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_caches_together_keep_256_mib_at_most() -> None:
    budgets = [v for k, v in config.DEFAULTS["cache"].items() if k.endswith("_nbytes")]
    assert len(budgets) == 8 and sum(budgets) <= 256 * MIB


def test_every_cache_has_a_budget() -> None:
    """No module makes a cache of a size that no setting bounds, and each setting has its cache."""
    made = [
        name
        for p in Path(packstore.__file__).parent.rglob("*.py")
        for name in re.findall(r"^\w+ = \w+LRU\((.*?)\)", p.read_text(), re.M)
    ]
    assert sorted(made) == sorted(
        f'"{k.removesuffix("_nbytes")}"' for k in config.DEFAULTS["cache"] if k.endswith("_nbytes")
    )


def test_works_as_zarrs() -> None:
    # The module is the configuration, too; a type checker knows only the module.
    settings: Any = packstore.config
    assert packstore.config.get("cache.chunks_nbytes") == 96 * MIB
    with packstore.config.set({"cache.chunks_nbytes": 5, "threads": 3}):
        assert packstore.config.get("cache.chunks-nbytes") == 5 == settings["cache.chunks_nbytes"]
        assert config.thread_count() == 3
    assert packstore.config.get("cache.chunks_nbytes") == 96 * MIB
    assert "remote.concurrency" in settings and "remote.nothing" not in settings
    packstore.config.set({"threads": 2})
    packstore.config.reset()
    assert packstore.config.get("threads") is None
    with pytest.raises(AttributeError):
        _ = packstore.config.nothing


def test_environment() -> None:
    code = "import packstore, json; c = packstore.config; print(json.dumps([c.get('threads'), c.cache_nbytes('text')]))"
    assert json.loads(run(code, PACKSTORE_THREADS="1", PACKSTORE_CACHE__TEXT_NBYTES="1000")) == [1, 1000]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_threads_follow_the_cpu_affinity() -> None:
    code = "import os, packstore; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    code += "; print(packstore.config.thread_count())"
    assert run(code).strip() == "1"


def test_caches_follow_their_budget() -> None:
    class Owner: ...

    cache, owner = ByteLRU("chunks"), Owner()
    with config.set({"cache.chunks_nbytes": 1000}):
        for i in range(5):
            cache.put(i, owner, np.zeros(300, np.uint8))
        assert cache.nbytes == 900 and cache.get(0, owner) is None and cache.get(4, owner) is not None
    with config.set({"cache.chunks_nbytes": 0}):
        cache.clear()
        cache.put(9, owner, np.zeros(1, np.uint8))
        assert cache.nbytes == 0
    files, state = FileLRU("members"), Fingerprint("/a", 1, 1, 1)
    with config.set({"cache.members_nbytes": 100}):
        for i in range(3):
            files.put(state, i, np.zeros(300, np.uint8))
        assert files.nbytes == 300 and files.get(state, 2) is not None


def test_a_dask_worker_shares_its_memory_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.cache_nbytes("chunks") == 96 * MIB
    monkeypatch.setattr(config, "_worker_limit_nbytes", lambda: 64 * MIB)
    # A sixteenth of 64 MiB, shared out like the budgets.
    total = sum(config.cache_nbytes(k.removesuffix("_nbytes")) for k in config.DEFAULTS["cache"] if "nbytes" in k)
    assert 3.9 * MIB < total <= 4 * MIB
    monkeypatch.setattr(config, "_worker_limit_nbytes", lambda: 64 << 30)
    assert config.cache_nbytes("chunks") == 96 * MIB


def test_the_limit_of_a_real_worker() -> None:
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, memory_limit="320MiB", dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert client.submit(config._worker_limit_nbytes).result() == 320 * MIB
        assert client.submit(config.cache_nbytes, "chunks").result() == 96 * MIB * 20 // 256


def test_settings_are_looked_for_where_donfig_does() -> None:
    from donfig import Config

    assert set(config._folders()) == set(Config("packstore", env={}).paths)


def test_donfig_is_imported_only_where_something_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = "import sys; from packstore import config; print(config.thread_count(), 'donfig' in sys.modules)"
    cores = min(config.cpu_count(), config.MAX_THREADS)
    home = str(tmp_path)
    monkeypatch.delenv("PACKSTORE_LOCAL__SETTLED_SECONDS", raising=False)
    assert run(read, HOME=home).split() == [str(cores), "False"]
    assert run(read, HOME=home, PACKSTORE_THREADS="3").split() == ["3", "True"]
    assert run(f"from packstore import config; config.set(threads=5); {read}", HOME=home).split() == ["5", "True"]
    folder = tmp_path / ".config" / "packstore"
    folder.mkdir(parents=True)
    (folder / "settings.yaml").write_text("threads: 7\n")
    assert run(read, HOME=home).split() == ["7", "True"]
