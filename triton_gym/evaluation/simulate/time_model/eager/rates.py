"""What PyTorch's own kernels take: constants of its operators, measured on an H200."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured constants of PyTorch's operators (H200, torch 2.11).

    How many kernels an operator is, what they read and write, how many threads and passes they
    have follows from PyTorch's sources. What a step of each takes does not: it was fitted to times
    of references on an H200 by `benchmarks/eager.py`, on one half of them, told apart by a hash of
    their names. Amounts `…_ps` are picoseconds of the whole GPU for each element, or what else is
    named; they grow as multiprocessors and clock fall.
    """

    memory: float = 0.872
    """Share of the data sheet's bandwidth that kernels reach which do nothing but stream."""
    cache_gbps: float = 5350.0
    """What L2 gives, in 10⁹ bytes a second: transposed copies are bound by it."""
    cache_kept: float = 0.526
    """Share of L2 up to which what was touched lately is still found in part, from half of it on.
    Data lie in the half that is near the multiprocessor that asked, and often in both."""
    wait_us: float = 0.3
    """From a kernel's start to its first values."""
    sharpness: float = 3.0
    """Exponent of the norm that joins memory, L2 and arithmetic of one kernel."""

    vector_ps: float = 0.626
    """Elementwise, all operands as they lie."""
    math_ps: float = 0.358
    """The same for a function of many instructions, besides."""
    power_ps: float = 1.76
    """A power with an exponent that is a tensor."""
    strided_ps: float = 2.1
    """Elementwise with operands that are broadcast or lie differently: no vector accesses."""
    axis_ps: float = 0.0945
    """For each axis that such a kernel divides by, and each operand."""
    cast_ps: float = 2.11
    """For each operand that such a kernel converts."""
    double_ps: float = 5.0
    """Functions in float64, besides."""

    reduce_ps: float = 0.414
    """Sums and extrema of rows."""
    reduce_memory: float = 0.695
    """Share of the bandwidth that reductions reach."""
    reduce_wave_us: float = 0.89
    """Between two generations of threads that a reduction starts."""
    join_us: float = 0.232
    """Each step in which one program joins partial results of others."""
    argument_ps: float = 1.11
    """Keeping the place of an extremum."""
    welford_ps: float = 1.76
    """Variances and standard deviations."""

    warp_softmax_ps: float = 0.478
    """Softmax of rows that a warp holds."""
    softmax_ps: float = 1.33
    """Softmax of longer rows, beside what memory takes: its passes wait for each other."""
    norm_ps: float = 0.403
    """Layer and RMS norm."""
    norm_step_us: float = 1.0
    """A step in which each thread of a row's program passes over four values, twice."""
    norm_wave_us: float = 1.14
    """The same for each generation of rows."""
    moment_us: float = 0.438
    """A step in which each thread adds a value to mean and variance: group and batch norms."""

    scan_ps: float = 6.05
    """Cumulative sums along rows."""
    scan_pair_ps: float = 17.9
    """Cumulative extrema along rows, with their places."""
    scan_step_us: float = 0.376
    """Each step of a scan across rows, whose columns have a thread each."""
    sort_ps: float = 5.71
    """An element of the padded row for each byte of its key."""
    select_us: float = 0.48
    """A pass over a row in search of its k-th value."""

    cat_ps: float = 2.99
    """Elements of the largest of the tensors that are joined along an axis but the first."""
    gather_ps: float = 0.942
    """Elements looked up one by one."""
    row_ps: float = 350.0
    """A program that copies a row: they wait for memory, 32 at once on a multiprocessor."""
    put_ps: float = 4.5
    """Elements put where an index says."""
    atomic_ps: float = 7.01
    """Elements added where an index says."""
    meeting_ps: float = 570.0
    """An atomic operation of the slice of L2 that does most of them: about a clock."""
    swap_ps: float = 1030.0
    """The same where atomics are loops of compare and swap."""
    bag_ps: float = 2.35
    """Elements that an embedding bag sums."""
    tap_ps: float = 0.638
    """Each value under a window of a pooling."""
    place_ps: float = 1.15
    """The same where its place is kept, or there are three axes."""
    depthwise_ps: float = 1.0
    """Each product of a convolution of channels by themselves…"""
    generic_ps: float = 10.0
    """A result of one whose window is not 1, 3 or 5 square, beside its products."""

    product_us: float = 1.39
    """Start and end of a product, convolution or attention: its pipeline fills and empties."""
    product: float = 0.799
    """Share of the dense peak that cuBLAS reaches on large matrices."""
    product_vector: float = 0.784
    """The same in float32, on the vector units."""
    product_integer: float = 0.449
    """The same in int8, through cuBLASLt's integer kernels."""
    product_memory: float = 0.918
    """Share of the bandwidth that products of thin matrices reach."""
    convolution: float = 0.705
    """Share of the peak that cuDNN's convolutions reach with 128 filters or more."""
    convolution_tf32: float = 0.55
    """The same in float32, which it rounds to tf32…"""
    convolution_vector: float = 0.65
    """…and of the vector units' peak where it does not. These two, and `place_ps`, `generic_ps` and
    `norm_step_us`, follow from times of an H100 that KernelBench publishes."""
    attention: float = 0.591
    """Share of the peak of fused attention with heads of 128."""
    attention_narrow: float = 0.436
    """The same with heads of 64."""
    attention_masked: float = 0.246
    """The same with a mask or a bias."""
    attention_vector: float = 0.45
    """The same in float32, of the vector units' peak."""

    fused: float = 0.85
    """Share of the bandwidth that kernels of `torch.compile` reach…"""
    fused_rows: float = 0.75
    """…and those that reduce rows."""
    fused_math_ps: float = 0.35
    """A function of many instructions in such a kernel."""
    fused_op_ps: float = 0.03
    """Any other operator in it: an instruction of all lanes."""


RATES = Rates()
