"""What the source of an answer may say: the tables of the screen's allow-list.

A host function allocates, views, computes shapes and launches its kernels. Names that do none of
these are not here; adding one means that no answer can compute, hide or remember with it.
"""

from __future__ import annotations

import itertools
import math

from triton_gym.evaluation.language import CUDA, LANGUAGE, LIBDEVICE, MATH

TORCH = frozenset(
    {
        # types and constants
        "Tensor", "device", "dtype", "Size", "float16", "float32", "float64", "bfloat16", "half",
        "float", "double", "int", "long", "short", "int8", "int16", "int32", "int64", "uint8",
        "uint16", "uint32", "uint64", "bool", "float8_e4m3fn", "float8_e5m2", "finfo", "iinfo",
        "contiguous_format", "preserve_format", "strided", "inf", "pi",
        # allocation
        "empty", "empty_like", "empty_strided", "zeros", "zeros_like", "ones", "ones_like", "full",
        "full_like",
        # views
        "reshape", "transpose", "permute", "unsqueeze", "squeeze", "flatten", "as_strided",
        "broadcast_shapes", "broadcast_to", "numel", "is_tensor", "is_floating_point",
        "promote_types", "is_grad_enabled", "__version__", "version",
        # context
        "cuda", "no_grad", "inference_mode", "nn", "jit", "Generator",
    }
)  # fmt: skip
TORCH_CUDA = frozenset(
    {
        "device", "current_device", "get_device_properties", "is_available",
        "get_device_capability", "device_of", "get_device_name", "device_count", "synchronize",
    }
)  # fmt: skip
TORCH_NN = frozenset({"Module", "Parameter", "functional", "ParameterList", "Buffer"})
TRITON = frozenset(
    {
        "jit", "autotune", "heuristics", "Config", "cdiv", "next_power_of_2", "language", "tools",
        "runtime", "testing", "set_allocator", "constexpr_function", "__version__",
    }
)  # fmt: skip

_ANNOTATIONS = frozenset(
    {
        "Annotated", "Any", "Callable", "ClassVar", "Dict", "Final", "FrozenSet", "Generic",
        "Iterable", "Iterator", "List", "Literal", "Mapping", "NamedTuple", "Optional",
        "ParamSpec", "Sequence", "Set", "Tuple", "Type", "TypeAlias", "TypeVar", "Union", "cast",
        "TYPE_CHECKING", "Sized", "Hashable", "Collection", "Generator", "MutableMapping",
        "MutableSequence",
    }
)  # fmt: skip
"""What annotations are written with. None of it evaluates text, as `get_type_hints` does."""

MEMBERS: dict[str, frozenset[str]] = {
    "__future__": frozenset({"annotations", "division", "print_function"}),
    "collections": frozenset({"OrderedDict", "defaultdict", "deque"}),
    "collections.abc": _ANNOTATIONS,
    "contextlib": frozenset({"nullcontext"}),
    "dataclasses": frozenset({"dataclass", "field", "replace", "asdict", "astuple", "fields"}),
    "enum": frozenset({"Enum", "IntEnum", "StrEnum", "auto", "unique"}),
    "functools": frozenset({"lru_cache", "cache", "partial", "reduce"}),
    "itertools": frozenset(n for n in dir(itertools) if not n.startswith("_")),
    "math": frozenset(n for n in dir(math) if not n.startswith("_")),
    "operator": frozenset({"add", "sub", "mul", "floordiv", "mod", "itemgetter", "ge", "gt", "le",
                           "lt", "eq", "ne"}),
    "typing": _ANNOTATIONS,
    "typing_extensions": _ANNOTATIONS,
    "torch": TORCH,
    "torch.cuda": TORCH_CUDA,
    "torch.jit": frozenset({"is_tracing", "is_scripting"}),
    "torch.nn": TORCH_NN,
    "torch.nn.functional": frozenset(),
    "torch.version": frozenset({"cuda", "hip"}),
    "triton": TRITON,
    "triton.language": LANGUAGE | {"math", "extra"},
    "triton.language.extra": frozenset({"cuda", "libdevice"}),
    "triton.language.extra.cuda": CUDA,
    "triton.language.extra.cuda.libdevice": LIBDEVICE,
    "triton.language.extra.libdevice": LIBDEVICE,
    "triton.language.math": MATH,
    "triton.runtime": frozenset({"driver", "JITFunction", "Config"}),
    "triton.testing": frozenset(),
    "triton.tools": frozenset({"tensor_descriptor"}),
    "triton.tools.tensor_descriptor": frozenset({"TensorDescriptor"}),
}  # fmt: skip
"""Modules that an answer may import, and what it may name of each.

Every list is closed: a module also holds whatever it imports itself (`typing.sys`, `enum.bltns`).
"""

KERNEL_DECORATORS = frozenset({"triton.jit", "triton.runtime.JITFunction"})
"""What makes a function a kernel, whose body is Triton's language instead of Python."""
DECORATORS = KERNEL_DECORATORS | {"triton.autotune", "triton.heuristics"}
"""All that may decorate a kernel: anything else could put something in its place."""
BASES = frozenset(
    {
        "object", "torch.nn.Module", "typing.NamedTuple", "typing_extensions.NamedTuple",
        "enum.Enum", "enum.IntEnum", "enum.StrEnum",
    }
)  # fmt: skip
"""What a class may inherit from."""
FACTORIES = BASES - {"object", "torch.nn.Module"}
"""Classes that make classes from text when called: they serve as bases only."""

BUILTINS = frozenset(
    {
        "abs", "all", "any", "bool", "dict", "divmod", "enumerate", "filter", "float", "frozenset",
        "int", "isinstance", "len", "list", "map", "max", "min", "pow", "print", "range", "repr",
        "reversed", "round", "set", "slice", "sorted", "staticmethod", "classmethod", "property",
        "str", "sum", "super", "tuple", "type", "zip", "callable", "hash", "True", "False", "None",
        "NotImplemented", "Ellipsis", "ArithmeticError", "AssertionError", "AttributeError",
        "Exception", "ImportError", "IndexError", "KeyError", "LookupError", "MemoryError",
        "ModuleNotFoundError", "NotImplementedError", "OverflowError", "RuntimeError",
        "StopIteration", "TypeError", "ValueError", "ZeroDivisionError", "__name__",
    }
)  # fmt: skip
"""Builtin names that an answer may use."""

SHADOWED = frozenset(
    {"input", "id", "hash", "iter", "next", "format", "bin", "bytes", "hex", "ord"}
)  # fmt: skip
"""Harmless builtin names that an answer may use for variables of its own."""

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
        "as_strided", "unbind", "split", "chunk", "movedim", "swapaxes", "swapdims", "detach",
        "data", "new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided", "zero_",
        "fill_", "to", "ndimension", "broadcast_to", "ravel", "clone", "copy_", "float", "half",
        "bfloat16", "cuda", "layout",
        # of device properties, dtypes and numbers
        "multi_processor_count", "total_memory", "name", "major", "minor", "is_signed", "bits",
        "eps", "tiny", "bit_length", "is_integer", "warp_size", "max_threads_per_multi_processor",
        "shared_memory_per_block_optin", "regs_per_multiprocessor", "L2_cache_size",
        # of containers and text
        "append", "extend", "insert", "items", "keys", "values", "get", "update", "copy", "add",
        "pop", "count", "join", "startswith", "endswith", "lower", "upper", "strip", "replace",
        "setdefault", "sort", "clear", "appendleft", "popleft", "cache_clear", "real",
        # of kernels, configs and descriptors
        "kwargs", "num_warps", "num_stages", "num_ctas", "maxnreg", "pre_hook", "configs", "fn",
        "warmup", "element_ty", "scalar", "primitive_bitwidth", "block_shape", "from_tensor",
        "load", "store", "gather", "scatter", "value", "active", "get_current_target",
        "get_active_torch_device", "get_current_device", "get_device_properties", "backend",
        "arch", "utils", "base", "best_config", "all_kwargs", "shared_memory_per_multiprocessor",
        "ALL", "NONE", "is_fp8", "is_fp16", "is_bf16", "is_fp32", "is_floating", "is_int",
        "int_bitwidth",
        "n_regs", "n_spills", "metadata", "shared", "metadata_group",
        # of modules
        "weight", "bias", "register_buffer", "register_parameter", "forward", "in_features",
        "out_features", "training", "normalized_shape",
    }
)  # fmt: skip
"""Attributes that may be read of anything that is not a module."""

FIELDS = frozenset(
    {
        "weight", "bias", "dtype", "device", "eps", "training", "in_features", "out_features",
        "normalized_shape", "num_warps", "num_stages", "name", "value", "forward",
    }
)  # fmt: skip
"""Fields that a class may have although other objects have them: setting them gains nothing."""

TRITON_FIELDS = frozenset(
    {
        "run", "fn", "cache", "cache_key", "add_pre_run_hook", "pre_run_hooks", "warmup", "preload",
        "launch_metadata", "device_caches", "create_binder", "do_bench", "prune_configs", "nargs",
        "bench", "restore_value", "reset_to_zero", "configs", "hash", "asm", "function", "module",
        "kernel", "packed_metadata", "src", "active", "set_active", "default", "launcher_cls",
        "load_binary", "unload_module", "get_benchmarker", "get_current_stream", "debug", "repr",
        "parse", "raw_src", "pre_hook", "post_hook", "user_defined_pre_hook", "base_fn",
        "elapsed_time", "synchronize", "record", "params", "arg_names", "starting_line_number",
        "used_global_vals",
        "rewriter", "rewrite", "rewritten_fn", "grid", "perf_model", "early_config_prune",
    }
)  # fmt: skip
"""Attributes of Triton's objects that no class of an answer may have as a field."""

NODES = frozenset(
    {
        # statements
        "FunctionDef", "ClassDef", "Return", "Delete", "Assign", "AugAssign", "AnnAssign", "For",
        "While", "If", "With", "Raise", "Try", "Assert", "Import", "ImportFrom", "Global",
        "Nonlocal", "Expr", "Pass", "Break", "Continue", "Match", "match_case",
        # expressions
        "BoolOp", "NamedExpr", "BinOp", "UnaryOp", "Lambda", "IfExp", "Dict", "Set", "ListComp",
        "SetComp", "DictComp", "GeneratorExp", "Yield", "Compare", "Call", "FormattedValue",
        "JoinedStr", "Constant", "Attribute", "Subscript", "Starred", "Name", "List", "Tuple",
        "Slice",
        # parts
        "Load", "Store", "Del", "And", "Or", "Add", "Sub", "Mult", "MatMult", "Div", "Mod", "Pow",
        "LShift", "RShift", "BitOr", "BitXor", "BitAnd", "FloorDiv", "Invert", "Not", "UAdd",
        "USub", "Eq", "NotEq", "Lt", "LtE", "Gt", "GtE", "Is", "IsNot", "In", "NotIn",
        "comprehension", "ExceptHandler", "arguments", "arg", "keyword", "alias", "withitem",
        # patterns; not those that read attributes
        "MatchValue", "MatchSingleton", "MatchSequence", "MatchStar", "MatchAs", "MatchOr",
    }
)  # fmt: skip
"""Nodes of the syntax tree that an answer may be made of."""

KERNEL_ATTRIBUTES = LANGUAGE | {
    "type", "T", "dtype", "shape", "element_ty", "numel", "block_shape", "strides",
    "offsets", "advance", "nbytes",
}  # fmt: skip
"""Attributes that may be read in a kernel besides: methods of Triton's tensors."""

PRIVATE = frozenset({"_init_handles"})
"""Private methods that published kernels call: Triton's own tutorial has this one."""

METHODS = frozenset({"__init__", "__post_init__", "__call__", "__repr__"})
"""Double-underscore functions that a class may define."""
