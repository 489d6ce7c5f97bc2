"""What searches found, kept: whole entries, of this user, for this machine."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time

import pytest
import torch

from triton_gym.errors import StoreError
from triton_gym.evaluation.fingerprint import code_fingerprint
from triton_gym.optimization.cache import Cache, Entry, environment_of, key_of
from triton_gym.optimization.pairs import Ratio

KEY, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def test_an_entry_comes_back(cache, verified_of):
    entry = Entry(verified_of(compiled=Ratio(1.2, 1.1, 1.3)), True, "run", "found")
    cache.put(KEY, entry)
    assert Cache(cache.folder).get(KEY) == entry
    assert cache.get(OTHER) is None


def test_entries_that_were_changed_or_moved_are_not_run(cache, tmp_path, verified_of):
    cache.put(KEY, Entry(verified_of(), True, "run"))
    file = cache.folder / f"{KEY}.json"
    whole = file.read_text(encoding="utf-8")
    told = json.loads(whole)
    (cache.folder / f"{OTHER}.json").write_text(whole, encoding="utf-8")
    assert cache.get(OTHER) is None  # of another function, GPU or version
    for change in ({"payload": told["payload"][:-8]}, {"code": "0" * 64}, {"payload": 3}):
        file.write_text(json.dumps(told | change), encoding="utf-8")
        assert cache.get(KEY) is None
    for broken in ("", "{", "[]", whole[:100]):
        file.write_text(broken, encoding="utf-8")
        assert cache.get(KEY) is None
    file.write_text(whole, encoding="utf-8")
    elsewhere = Cache(tmp_path / "another user's")
    (elsewhere.folder / file.name).write_text(whole, encoding="utf-8")
    assert elsewhere.get(KEY) is None
    # Its source is one more candidate for a search.
    assert elsewhere.unverified(KEY) == verified_of().source


def test_exported_kernels_are_unverified_where_they_are_read(cache, tmp_path, verified_of):
    cache.put(KEY, Entry(verified_of(), True, "run"))
    assert cache.export(tmp_path / "kernels.json") == 1
    other = Cache(tmp_path / "other")
    assert other.load(tmp_path / "kernels.json") == 1
    assert other.load(tmp_path / "kernels.json") == 0
    assert other.get(KEY) is None
    assert other.unverified(KEY) == verified_of().source
    (tmp_path / "bad.json").write_text('{"sources": {"../../x": "y"}}', encoding="utf-8")
    with pytest.raises(StoreError, match="holds no exported kernels"):
        other.load(tmp_path / "bad.json")


def test_banned_kernels_stay_away(cache, verified_of):
    cache.put(KEY, Entry(verified_of(), True, "run"))
    cache.ban(verified_of().source, "it faulted")
    assert cache.get(KEY) is None
    assert not cache.unverified(KEY)


def _write(folder, entry):
    cache = Cache(folder)
    while True:
        cache.put(KEY, entry)


def test_a_writer_that_is_killed_leaves_a_whole_entry(cache, verified_of):
    entry = Entry(verified_of(source="# long\n" * 20_000), True, "run")
    cache.put(KEY, entry)
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        writer = context.Process(target=_write, args=(cache.folder, entry))
        writer.start()
        time.sleep(0.05)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        assert cache.get(KEY) == entry


def test_one_process_searches_at_a_time(cache):
    with cache.lock(KEY) as first, Cache(cache.folder).lock(KEY) as second:
        assert first
        assert not second
    with cache.lock(KEY) as again:
        assert again


def test_what_a_key_depends_on():
    def one(x):
        return x + 1

    def same(x):
        return x + 1

    def other(x):
        return x + 2

    weight = torch.ones(4)

    def holds(x):
        return x * weight

    before = code_fingerprint(holds)
    weight.add_(1)
    assert code_fingerprint(holds) == before  # a kernel takes it as an argument
    assert code_fingerprint(one) == code_fingerprint(same) != code_fingerprint(other)
    module = torch.nn.Linear(3, 3)
    assert code_fingerprint(module.forward) == code_fingerprint(torch.nn.Linear(3, 3).forward)
    assert code_fingerprint(module.forward) != code_fingerprint(torch.nn.Linear(3, 4).forward)
    here = environment_of("cpu")
    keys = {
        key_of("f", "e", None, here), key_of("g", "e", None, here), key_of("f", "d", None, here),
        key_of("f", "e", {"x": (0,)}, here), key_of("f", "e", None, {**here, "gpu": "another"}),
        key_of("f", "e", None, {**here, "triton": "0"}),
    }  # fmt: skip
    assert len(keys) == 6
