"""What the source of an answer may say: the tables of the screen's allow-list.

A host function allocates, views, computes shapes and launches its kernels. Names that do none of
these are not here; adding one means that no answer can compute, hide or remember with it.
"""

from __future__ import annotations

MODULES = frozenset(
    {
        "__future__", "collections.abc", "dataclasses", "enum", "itertools", "math", "operator",
        "torch", "torch.nn", "torch.nn.functional", "triton", "triton.language",
        "triton.language.extra", "triton.language.extra.cuda", "triton.language.extra.libdevice",
        "triton.language.extra.cuda.libdevice", "triton.language.math",
        "triton.tools.tensor_descriptor", "typing", "typing_extensions",
    }
)  # fmt: skip
"""Modules that an answer may import."""

TORCH = frozenset(
    {
        # types and constants
        "Tensor", "device", "dtype", "Size", "float16", "float32", "float64", "bfloat16", "half",
        "float", "double", "int", "long", "short", "int8", "int16", "int32", "int64", "uint8",
        "uint16", "uint32", "uint64", "bool", "float8_e4m3fn", "float8_e5m2", "finfo", "iinfo",
        "contiguous_format", "preserve_format", "strided", "inf", "pi",
        # allocation
        "empty", "empty_like", "empty_strided", "zeros", "zeros_like",
        # views
        "reshape", "transpose", "permute", "unsqueeze", "squeeze", "flatten", "as_strided",
        "broadcast_shapes", "numel", "is_tensor",
        # context
        "cuda", "no_grad", "inference_mode", "nn", "jit", "Generator",
    }
)  # fmt: skip
TORCH_CUDA = frozenset(
    {
        "device", "current_device", "get_device_properties", "is_available",
        "get_device_capability", "device_of",
    }
)  # fmt: skip
TORCH_NN = frozenset({"Module", "Parameter", "functional", "ParameterList", "Buffer"})
TRITON = frozenset(
    {
        "jit", "autotune", "heuristics", "Config", "cdiv", "next_power_of_2", "language", "tools",
        "runtime", "testing", "set_allocator", "constexpr_function", "__version__",
    }
)  # fmt: skip

MEMBERS: dict[str, frozenset[str]] = {
    "torch": TORCH,
    "torch.cuda": TORCH_CUDA,
    "torch.nn": TORCH_NN,
    "torch.nn.functional": frozenset(),
    "torch.jit": frozenset({"is_tracing", "is_scripting"}),
    "triton": TRITON,
    "triton.tools": frozenset({"tensor_descriptor"}),
    "triton.tools.tensor_descriptor": frozenset({"TensorDescriptor"}),
    "triton.runtime": frozenset({"driver", "JITFunction", "Config"}),
    "triton.testing": frozenset(),
    "functools": frozenset(),
}
"""Members that may be named of a module; a module that is not here is open, as `math` is."""

BUILTINS = frozenset(
    {
        "abs", "all", "any", "bool", "dict", "divmod", "enumerate", "filter", "float", "frozenset",
        "int", "isinstance", "len", "list", "map", "max", "min", "pow", "print", "range", "repr",
        "reversed", "round", "set", "slice", "sorted", "staticmethod", "property", "str", "sum",
        "super", "tuple", "type", "zip", "True", "False", "None", "NotImplemented", "Ellipsis",
        "AssertionError", "Exception", "IndexError", "NotImplementedError", "RuntimeError",
        "TypeError", "ValueError", "KeyError", "__name__",
    }
)  # fmt: skip
"""Builtin names that an answer may use."""

SHADOWED = frozenset({"input", "id", "hash", "iter", "next", "format", "bin", "object", "bytes"})
"""Builtin names that an answer may use for variables of its own."""

SETTABLE = frozenset({"block_shape"})
"""Attributes that may be set on something other than `self`: hooks size descriptors by it."""

ATTRIBUTES = frozenset(
    {
        # of tensors: facts
        "shape", "size", "stride", "numel", "nelement", "dim", "ndim", "dtype", "device",
        "is_contiguous", "is_cuda", "data_ptr", "element_size", "itemsize", "requires_grad",
        "is_floating_point", "storage_offset", "get_device", "index", "type", "nbytes",
        # of tensors: views and allocation
        "contiguous", "view", "view_as", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze",
        "transpose", "permute", "t", "T", "mT", "expand", "expand_as", "narrow", "select",
        "as_strided", "unbind", "split", "chunk", "movedim", "swapaxes", "detach", "data",
        "new_empty", "new_zeros", "new_empty_strided", "zero_", "to", "ndimension", "broadcast_to",
        # of device properties, dtypes and numbers
        "multi_processor_count", "total_memory", "name", "major", "minor", "is_signed", "bits",
        "eps", "tiny", "bit_length", "is_integer", "warp_size", "max_threads_per_multi_processor",
        "shared_memory_per_block_optin", "regs_per_multiprocessor", "L2_cache_size",
        # of containers and text
        "append", "extend", "insert", "items", "keys", "values", "get", "update", "copy", "add",
        "pop", "count", "join", "startswith", "endswith", "lower", "upper", "strip", "replace",
        "setdefault", "sort",
        # of kernels, configs and descriptors
        "kwargs", "num_warps", "num_stages", "num_ctas", "maxnreg", "pre_hook", "configs", "fn",
        "warmup", "element_ty", "scalar", "primitive_bitwidth", "block_shape", "from_tensor",
        "load", "store", "gather", "scatter", "value", "active", "get_current_target",
        "get_active_torch_device", "backend", "arch", "utils", "base", "best_config",
        "is_fp8", "is_fp16", "is_bf16", "is_fp32", "is_floating", "is_int", "int_bitwidth",
        "n_regs", "n_spills", "metadata", "shared", "metadata_group",
        # of modules
        "weight", "bias", "register_buffer", "register_parameter", "forward", "in_features",
        "out_features", "training", "normalized_shape",
        # values inside kernels
        "sum", "max", "min", "cast", "trans", "item_type", "logical_and", "logical_or", "cumsum",
        "argmax", "argmin", "reduce", "associative_scan", "exp", "log", "sqrt", "abs", "sigmoid",
    }
)  # fmt: skip
"""Attributes that may be read of anything that is not a module."""

METHODS = frozenset({"__init__", "__post_init__"})
"""Double-underscore functions that a class may define."""
