"""Steps of a plan, made ready to be queued on a stream."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch

from triton_gym.evaluation.backends.cuda.driver import check
from triton_gym.evaluation.backends.cuda.packing import PackedLaunch, TensorMap, Unlaunchable
from triton_gym.evaluation.backends.cuda.tensor_maps import encode_tensor_map
from triton_gym.evaluation.plan.step import (
    Copy,
    Fill,
    Gather,
    Launch,
    Read,
    Step,
    Synchronize,
    Upload,
)
from triton_gym.evaluation.plan.view import View

Operation = Callable[[], object]
STATIC_SHARED = 48 << 10
"""Shared memory that a kernel may have without asking for it."""
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class ValuesDiffer(Exception):
    """A step read other values than when the plan was recorded."""


def tensor_at(view: View, device: torch.device) -> torch.Tensor:
    """A tensor of PyTorch's over mapped memory or memory that will be mapped. Negative strides are
    left to the caller: `low`'s element comes first."""
    low, high = view.extent
    storage = torch._C._construct_storage_from_data_pointer(low, device, max(high - low, 0))
    dtype = getattr(torch, view.dtype)
    strides = [abs(stride) for stride in view.strides]
    return torch.empty(0, dtype=dtype, device=device).set_(storage, 0, view.shape, strides)


def flipped(view: View) -> list[int]:
    """Axes that a view reads backwards."""
    return [axis for axis, stride in enumerate(view.strides) if stride < 0]


class Loaded:
    """Machine code in the context, by artifact.

    Args:
        stream: where launches go.
        shared_limit: most shared memory of a program.
    """

    def __init__(self, stream: int, shared_limit: int) -> None:
        from cuda.bindings import driver as cu

        self._cu, self._stream, self._shared_limit = cu, stream, shared_limit
        self._modules: dict[str, tuple[Any, Any]] = {}
        self.texts = False
        """Whether any of it has memory that a kernel could write; see `Binary.strings`."""

    def function(self, launch: PackedLaunch) -> Any:
        """The driver's handle of a launch's kernel."""
        artifact, cu = launch.artifact, self._cu
        if artifact.id in self._modules:
            return self._modules[artifact.id][1]
        shared = launch.shared_bytes
        if shared + artifact.binary.static_shared_bytes > self._shared_limit + 1024:
            raise Unlaunchable(
                f"out of resources: {artifact.binary.name} needs {shared} bytes of shared memory; "
                f"{self._shared_limit} are the limit. Reduce the block sizes or num_stages."
            )
        module = check(cu.cuModuleLoadData(artifact.cubin))
        function = check(cu.cuModuleGetFunction(module, artifact.binary.name.encode()))
        attribute = cu.CUfunction_attribute
        if shared > STATIC_SHARED:
            check(cu.cuFuncSetCacheConfig(function, cu.CUfunc_cache.CU_FUNC_CACHE_PREFER_SHARED))
            static = check(
                cu.cuFuncGetAttribute(attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function)
            )
            largest = attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            check(cu.cuFuncSetAttribute(function, largest, self._shared_limit - static))
        if launch.cluster > 8:
            portable = attribute.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED
            check(cu.cuFuncSetAttribute(function, portable, 1))
        self._modules[artifact.id] = module, function
        self.texts |= artifact.binary.strings
        return function

    def unload(self) -> None:
        """Take all of it out of the context."""
        for module, _ in self._modules.values():
            check(self._cu.cuModuleUnload(module))
        self._modules.clear()

    def launcher(self, launch: PackedLaunch) -> Operation:
        """What queues a launch. The machine code is loaded."""
        function = self.function(launch)
        config = self._config(launch)
        kept: list[Any] = []
        addresses = (ctypes.c_void_p * max(1, len(launch.words)))()
        for index, word in enumerate(launch.words):
            if isinstance(word, TensorMap):
                encoded = encode_tensor_map(word)
                addresses[index] = int(encoded.getPtr())
            else:
                encoded = ctypes.create_string_buffer(word, len(word))
                addresses[index] = ctypes.addressof(encoded)
            kept.append(encoded)
        parameters, launch_kernel = ctypes.addressof(addresses), self._cu.cuLaunchKernelEx

        def queue(_kept: object = (kept, addresses)) -> None:
            error = launch_kernel(config, function, parameters, 0)
            if int(error[0]):
                check(error)

        return queue

    def _config(self, launch: PackedLaunch) -> Any:
        cu = self._cu
        config = cu.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = launch.grid
        config.blockDimX, config.blockDimY, config.blockDimZ = launch.threads, 1, 1
        config.sharedMemBytes = launch.shared_bytes
        config.hStream = self._stream
        attributes, kinds = [], cu.CUlaunchAttributeID
        if launch.pdl:
            pdl = cu.CUlaunchAttribute()
            pdl.id = kinds.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
            pdl.value.programmaticStreamSerializationAllowed = 1
            attributes.append(pdl)
        if launch.cooperative:
            cooperative = cu.CUlaunchAttribute()
            cooperative.id = kinds.CU_LAUNCH_ATTRIBUTE_COOPERATIVE
            cooperative.value.cooperative = 1
            attributes.append(cooperative)
        if launch.cluster > 1:
            cluster, policy = cu.CUlaunchAttribute(), cu.CUlaunchAttribute()
            cluster.id = kinds.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
            dimension = cluster.value.clusterDim
            dimension.x, dimension.y, dimension.z = launch.cluster, 1, 1
            policy.id = kinds.CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE
            spread = cu.CUclusterSchedulingPolicy.CU_CLUSTER_SCHEDULING_POLICY_SPREAD
            policy.value.clusterSchedulingPolicyPreference = spread
            attributes += [cluster, policy]
        config.attrs = attributes
        config.numAttrs = len(attributes)
        return config


class Movement:
    """Copies and fills as PyTorch makes them.

    Args:
        device: the GPU.
        stream: PyTorch's current one, by its number.
        blobs: what uploads and reads refer to.
    """

    def __init__(self, device: torch.device, stream: int, blobs: bytes) -> None:
        from cuda.bindings import driver as cu

        self._cu, self._device, self._stream, self._blobs = cu, device, stream, blobs

    def operation(self, step: Step) -> Operation:
        """What queues a step that is no launch."""
        if isinstance(step, Copy):
            return self._copy(step)
        if isinstance(step, Fill):
            return self._fill(step)
        if isinstance(step, Gather):
            out = tensor_at(step.dst, self._device)
            src, index = (tensor_at(view, self._device) for view in (step.src, step.index))
            axis, length = step.axis, step.src.shape[step.axis]

            def gather() -> None:
                wrapped = torch.where(index < 0, index + length, index)
                out.copy_(torch.index_select(src, axis, wrapped))

            return gather
        if isinstance(step, Upload):
            data = self._blobs[step.offset : step.offset + step.nbytes]
            address, size = step.address, step.nbytes
            return lambda: check(self._cu.cuMemcpyHtoDAsync(address, data, size, self._stream))
        if isinstance(step, Read):
            return self._read(step)
        if isinstance(step, Synchronize):
            return lambda: check(self._cu.cuStreamSynchronize(self._stream))
        raise TypeError(f"no movement: {type(step).__name__}")

    def _copy(self, step: Copy) -> Operation:
        out, src = tensor_at(step.dst, self._device), tensor_at(step.src, self._device)
        axes = sorted(set(flipped(step.src)) ^ set(flipped(step.dst)))
        if axes:
            return lambda: out.copy_(torch.flip(src, axes))
        return lambda: out.copy_(src)

    def _fill(self, step: Fill) -> Operation:
        out = tensor_at(step.dst, self._device)
        if not step.bits:
            return out.zero_
        size = step.dst.itemsize
        if size == 16:
            data = bytearray(step.bits.to_bytes(16, "little"))
            value = torch.frombuffer(data, dtype=out.dtype)[0].item()
            return lambda: out.fill_(value)
        bits = step.bits - (1 << 8 * size if size > 1 and step.bits >> (8 * size - 1) else 0)
        same = out.view(_BITS[size])
        return lambda: same.fill_(bits)

    def _read(self, step: Read) -> Operation:
        expected = self._blobs[step.offset : step.offset + step.nbytes]

        def read() -> None:
            found = bytearray(step.nbytes)
            check(self._cu.cuMemcpyDtoHAsync(found, step.address, step.nbytes, self._stream))
            check(self._cu.cuStreamSynchronize(self._stream))
            if bytes(found) != expected:
                raise ValuesDiffer

        return read


def is_movement(step: Step) -> bool:
    """Whether a step moves or fills elements, which counts against an answer's coverage."""
    return isinstance(step, (Copy, Fill, Gather, Upload))


def queue_all(operations: Sequence[Operation]) -> None:
    """Queue operations in order."""
    for operation in operations:
        operation()


def launches(steps: Sequence[Step]) -> int:
    """How many of the steps are launches."""
    return sum(isinstance(step, Launch) for step in steps)
