"""What every kind of device must offer, and what names them."""

from __future__ import annotations

import types

import pytest

from triton_gym.device import Device
from triton_gym.errors import DeviceError, InvalidOptionError
from triton_gym.evaluation import backends
from triton_gym.evaluation.backends import BACKENDS, backend_named, resolve, resolve_all
from triton_gym.evaluation.backends.cuda import backend as cuda
from triton_gym.evaluation.backends.protocol import Backend, Fault


@pytest.fixture
def gpus(monkeypatch):
    """As if PyTorch saw so many."""

    def there(count):
        monkeypatch.setattr(cuda, "cuda_device_count", lambda: count)

    return there


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_is_whole(name):
    found = backend_named(name)
    public = {member for member in vars(Backend) if not member.startswith("_")}
    public |= set(Backend.__annotations__)
    assert not [member for member in public if not hasattr(found, member)]
    assert found.name == name
    assert all(text.partition(":")[0] == name for text in found.spellings)
    assert found.workers(1) >= found.workers(1000) >= 1
    placed = found.placement("", 3, 1.0)
    assert (placed.device.kind, placed.workers) == (name, 3)
    assert placed.holds["num_cpus"] > 0
    assert found.fault(ValueError("CUDA error, says an answer")) is Fault.OTHER


def test_what_a_device_is_called(gpus):
    gpus(2)
    for text, told in {
        "auto": "cuda:0", "cuda": "cuda:0", " CUDA:1 ": "cuda:1", "simulated": "simulated:h100",
        "simulated:H200": "simulated:h200",
    }.items():  # fmt: skip
        assert str(resolve(text)) == told
        assert resolve(told) == resolve(text)
    assert list(map(str, resolve_all("cuda:all"))) == ["cuda:0", "cuda:1"]
    with pytest.raises(InvalidOptionError, match="2 devices"):
        resolve("cuda:all")
    gpus(0)
    assert str(resolve("auto")) == "simulated:h100"
    for text in ("cuda", "cuda:0", "cuda:all"):
        with pytest.raises(DeviceError, match="PyTorch sees 0"):
            resolve(text)


@pytest.mark.parametrize(
    "text", ["", "npu", "cuda:", "cuda:-1", "cuda:one", "simulated:", "auto:0", "simulated:tpu"]
)
def test_what_is_no_device_is_told_what_is(text, gpus):
    gpus(1)
    with pytest.raises(InvalidOptionError, match=r"cuda|h200"):
        resolve(text)


def test_a_line_makes_a_device(monkeypatch):
    class Remote(cuda.CudaBackend):
        name = "remote"
        spellings = ("remote:<path>",)

        def devices(self, which):
            return (Device(self.name, which),)

    module = types.ModuleType("elsewhere")
    module.Remote = Remote
    monkeypatch.setitem(__import__("sys").modules, "elsewhere", module)
    monkeypatch.setattr(backends, "BACKENDS", {**BACKENDS, "remote": "elsewhere:Remote"})
    assert str(resolve("remote:/Some/Path")) == "remote:/Some/Path"
    with pytest.raises(InvalidOptionError, match="remote:<path>"):
        resolve("remoted:x")
    backend_named.cache_clear()


def test_a_judge_sees_its_own_gpu_only(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    isolated = backend_named("cuda").isolated
    assert isolated(Device("cuda", "2")) == (Device("cuda", "0"), {"CUDA_VISIBLE_DEVICES": "2"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-ab")
    assert isolated(Device("cuda", "1"))[1] == {"CUDA_VISIBLE_DEVICES": "GPU-ab"}
