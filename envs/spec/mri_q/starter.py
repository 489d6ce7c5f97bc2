"""MRI-Q, plainly: a block of voxels a program, one sample at a time."""

import torch
import triton
import triton.language as tl


@triton.jit
def mri_q_kernel(
    k_ptr, phi_ptr, x_ptr, real_ptr, imaginary_ptr, samples, voxels, BLOCK: tl.constexpr
):
    """A block of voxels."""
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = voxel < voxels
    x = tl.load(x_ptr + voxel, mask=mask, other=0.0)
    y = tl.load(x_ptr + voxels + voxel, mask=mask, other=0.0)
    z = tl.load(x_ptr + 2 * voxels + voxel, mask=mask, other=0.0)
    real = tl.zeros((BLOCK,), dtype=tl.float32)
    imaginary = tl.zeros((BLOCK,), dtype=tl.float32)
    for sample in range(samples):
        a = tl.load(phi_ptr + sample)
        b = tl.load(phi_ptr + samples + sample)
        turns = tl.load(k_ptr + sample) * x
        turns += tl.load(k_ptr + samples + sample) * y
        turns += tl.load(k_ptr + 2 * samples + sample) * z
        angle = 6.283185307179586 * (turns - tl.floor(turns + 0.5))
        real += (a * a + b * b) * tl.cos(angle)
        imaginary += (a * a + b * b) * tl.sin(angle)
    tl.store(real_ptr + voxel, real, mask=mask)
    tl.store(imaginary_ptr + voxel, imaginary, mask=mask)


def mri_q(k: torch.Tensor, phi: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Real and imaginary part of Q at (3, voxels)."""
    samples, voxels = k.shape[1], x.shape[1]
    real = torch.empty((voxels,), device=x.device, dtype=x.dtype)
    imaginary = torch.empty_like(real)
    mri_q_kernel[(triton.cdiv(voxels, 128),)](
        k, phi, x, real, imaginary, samples, voxels, BLOCK=128
    )
    return real, imaginary
