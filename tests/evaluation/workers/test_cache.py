from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest
import torch
import triton
import triton.language as tl
from triton import knobs
from triton.runtime.cache import FileCacheManager

from triton_gym.evaluation.workers.cache import OneBuilder
from triton_gym.evaluation.workers.precompile import precompile

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(knobs.cache, "dir", str(tmp_path))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")  # some versions warn where it is not set
    yield tmp_path
    OneBuilder.let_go()


class Other:
    """Another process, and what it sends."""

    def __init__(self, does):
        self.end, theirs = FORK.Pipe()

        def run():
            OneBuilder._held = None  # what a fork inherits is not its own
            does(theirs.send)

        self.process = FORK.Process(target=run)
        self.process.start()
        theirs.close()  # so that its end shows

    def says(self, seconds=20.0):
        return self.end.recv() if self.end.poll(seconds) else "nothing"  # raises once it has ended


def test_who_misses_a_file_later_waits_for_it():
    mine = OneBuilder("key")
    assert mine.get_file("launcher.so") is None
    other = Other(lambda send: send(OneBuilder("key").get_file("launcher.so")))
    assert other.says(0.3) == "nothing"
    path = mine.put(b"code", "launcher.so")
    assert other.says() == path


def test_a_group_is_there_once_all_of_it_is():
    mine = OneBuilder("key")
    assert mine.get_group("kernel.json") is None
    other = Other(lambda send: send(OneBuilder("key").get_group("kernel.json")))
    group = {name: mine.put(b"code", name) for name in ("kernel.ptx", "kernel.cubin")}
    assert mine.get_file("kernel.ttir") is None, "one's own folder does not wait for oneself"
    assert other.says(0.3) == "nothing"
    mine.put_group("kernel.json", group)
    assert other.says() == group


def test_who_gives_up_or_dies_is_not_waited_for():
    OneBuilder("key").get_file("launcher.so")
    other = Other(lambda send: send(OneBuilder("key").get_file("launcher.so")))
    OneBuilder("another").get_file("launcher.so")
    assert other.says() is None

    def stay(send):
        send(OneBuilder("third").get_file("launcher.so"))
        time.sleep(60)

    killed = Other(stay)
    assert killed.says() is None
    other = Other(lambda send: send(OneBuilder("third").get_file("launcher.so")))
    assert other.says(0.3) == "nothing"
    os.kill(killed.process.pid, signal.SIGKILL)
    assert other.says() is None


@triton.jit
def twice_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, 2 * tl.load(x_ptr + i))


def test_several_that_compile_the_same_kernel_build_it_once(folder, monkeypatch):
    put, x = FileCacheManager.put, torch.zeros(64)

    def compile_it(send):
        def counted(self, data, filename, binary=True):
            send(filename)
            return put(self, data, filename, binary)

        monkeypatch.setattr(FileCacheManager, "put", counted)
        precompile(lambda: twice_kernel[(1,)](x, x, BLOCK=64), "h100")
        send("done")

    others = [Other(compile_it) for _ in range(3)]
    said = [list(iter(other.says, "done")) for other in others]
    assert sum("twice_kernel.cubin" in each for each in said) == 1


def test_triton_has_its_own_cache_again_afterwards():
    before = knobs.cache.manager_class

    def fails():
        assert knobs.cache.manager_class is OneBuilder
        raise ValueError("of the compiler")

    with pytest.raises(ValueError, match="compiler"):
        precompile(fails, "h100")
    assert knobs.cache.manager_class is before is not OneBuilder
