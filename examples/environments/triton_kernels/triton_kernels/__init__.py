"""GPU kernels in Triton as a verifiers environment: `vf-eval triton_kernels`."""

from triton_gym.integrations.verifiers import KernelEnv, KernelTaskset

__all__ = ["KernelEnv", "KernelTaskset"]
