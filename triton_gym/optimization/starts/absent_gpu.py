"""A GPU that is not here, as far as PyTorch's compiler asks for one. For a process of one use."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from triton_gym.device import gpu_named
from triton_gym.evaluation.backends.simulated.facts import facts_of


def pretend(gpu: str) -> None:
    """Have PyTorch and Triton believe, for good, that there is a GPU. Nothing can run on it.

    Args:
        gpu: key in `GPUS`.
    """
    import triton

    from triton_gym.evaluation.recording.driver import Driver

    facts = facts_of(gpu_named(gpu))
    major, minor = divmod(facts.capability, 10)
    about = _properties(facts)
    for name, value in _answers(facts.name, (major, minor), about).items():
        setattr(torch.cuda, name, value)
    if torch.version.cuda is None:
        torch.version.cuda = "13.0"
    triton.runtime.driver.set_active(Driver(facts, SimpleNamespace(bench=None)))  # type: ignore[arg-type]
    fake: Any = torch._subclasses.fake_tensor
    if hasattr(fake, "init_gpu_context"):  # some versions make a tensor on the GPU there
        fake.init_gpu_context = lambda device: None
    _forget_that_there_is_none()
    _pretend_to_dynamo(facts.capability, about)
    _start_no_context()
    _forget_the_gpu_in_passes()


def _properties(facts: Any) -> Any:
    major, minor = divmod(facts.capability, 10)
    return SimpleNamespace(
        name=facts.name, type="cuda", index=0, major=major, minor=minor, cc=facts.capability,
        total_memory=facts.total_bytes, multi_processor_count=facts.multiprocessors,
        L2_cache_size=facts.l2_bytes, warp_size=32, max_threads_per_block=1024,
        max_threads_per_multi_processor=facts.threads,
        regs_per_multiprocessor=facts.registers, shared_memory_per_block=48 << 10,
        shared_memory_per_block_optin=facts.shared_bytes,
        shared_memory_per_multiprocessor=facts.shared_bytes_multiprocessor, gcnArchName="",
    )  # fmt: skip


def _answers(name: str, capability: tuple[int, int], about: Any) -> dict[str, Callable[..., Any]]:
    """What `torch.cuda` is asked while a graph is compiled."""
    stream = SimpleNamespace(cuda_stream=0, stream_id=0, device_index=0, device_type=1)
    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": lambda: None,
        "_lazy_init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "_exchange_device": lambda device: 0,
        "_maybe_exchange_device": lambda device: 0,
        "get_device_capability": lambda device=None: capability,
        "get_device_properties": lambda device=None: about,
        "_get_device_properties": lambda device: about,
        "get_device_name": lambda device=None: name,
        "get_arch_list": lambda: [f"sm_{capability[0]}{capability[1]}"],
        "synchronize": lambda device=None: None,
        "is_bf16_supported": lambda *_, **__: True,
        "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda *_, **__: None,
        "current_stream": lambda device=None: stream,
        "is_current_stream_capturing": lambda: False,
        "memory_allocated": lambda *_: 0,
    }


def _pretend_to_dynamo(capability: int, about: Any) -> None:
    """The interface through which the compiler asks about devices."""
    from torch._dynamo.device_interface import CudaInterface

    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_compute_capability": lambda device=None: capability,
        "get_device_properties": lambda device=None: about,
        "synchronize": lambda device=None: None,
    }
    for name, value in answers.items():
        setattr(CudaInterface, name, staticmethod(value))
    worker: Any = CudaInterface.Worker
    worker.get_device_properties = staticmethod(lambda device=None: about)
    worker.current_device = staticmethod(lambda: 0)


def _forget_that_there_is_none() -> None:
    """Whether Triton can be used is found out once, maybe while the compiler was imported."""
    import torch._inductor.utils
    import torch.utils._triton

    for module in (torch.utils._triton, torch._inductor.utils):
        for found in list(vars(module).values()):
            clear = getattr(found, "cache_clear", None)
            if callable(clear) and getattr(found, "__module__", "") == module.__name__:
                clear()


def _start_no_context() -> None:
    """A tensor without values on the device would start CUDA, which finds no GPU here."""
    from torch._subclasses import fake_tensor

    module: Any = fake_tensor
    if hasattr(module, "init_gpu_context"):
        module.init_gpu_context = lambda device: None


def _forget_the_gpu_in_passes() -> None:
    """Passes over graphs are made with tensors on the device: here they are made for the CPU."""
    import torch._inductor.fx_passes.joint_graph as joint
    import torch._inductor.fx_passes.post_grad as post
    import torch._inductor.fx_passes.pre_grad as pre

    module: Any
    for module in (joint, post, pre):
        made: Any = getattr(module, "lazy_init", None)
        if made is not None:
            made(torch.device("cpu"))
            module.lazy_init = lambda *_, made=made, **__: made(torch.device("cpu"))
