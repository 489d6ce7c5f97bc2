"""The window of device addresses that answers see, in the process that runs their kernels."""

from __future__ import annotations

from typing import Any

from triton_gym.evaluation.backends.cuda.driver import check
from triton_gym.evaluation.plan.window import SEGMENT, WINDOW


def allocation_properties(device: int) -> Any:
    """What physical memory is made with: on a device, and for other processes too."""
    from cuda.bindings import driver as cu

    found = cu.CUmemAllocationProp()
    found.type = cu.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    found.location.type = cu.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
    found.location.id = device
    kinds = cu.CUmemAllocationHandleType
    found.requestedHandleTypes = kinds.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
    return found


def access(device: int, *, writes: bool) -> Any:
    """What a device may do with mapped memory."""
    from cuda.bindings import driver as cu

    found = cu.CUmemAccessDesc()
    found.location = allocation_properties(device).location
    flags = cu.CUmemAccess_flags
    found.flags = (
        flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE if writes else flags.CU_MEM_ACCESS_FLAGS_PROT_READ
    )
    return found


class Window:
    """The reserved addresses; physical memory comes and goes.

    Args:
        device: whose context is current.
    """

    def __init__(self, device: int) -> None:
        from cuda.bindings import driver as cu

        self._cu = cu
        self._both, self._reading = access(device, writes=True), access(device, writes=False)
        got = int(check(cu.cuMemAddressReserve(WINDOW.nbytes, SEGMENT, WINDOW.start, 0)))
        if got != WINDOW.start:
            raise RuntimeError(f"The device's addresses begin at {got:#x}, not {WINDOW.start:#x}.")
        self._mapped: dict[int, int] = {}

    def map(self, address: int, handle: Any, nbytes: int, *, writes: bool) -> None:
        """Let physical memory appear at an address of the window."""
        check(self._cu.cuMemMap(address, nbytes, 0, handle, 0))
        self._mapped[address] = nbytes
        allowed = self._both if writes else self._reading
        check(self._cu.cuMemSetAccess(address, nbytes, [allowed], 1))

    def unmap(self, address: int) -> None:
        """Let it disappear. The device must be done with it."""
        nbytes = self._mapped.pop(address, 0)
        if nbytes:
            check(self._cu.cuMemUnmap(address, nbytes))

    def clear(self) -> None:
        """Let all of it disappear."""
        for address in list(self._mapped):
            self.unmap(address)
