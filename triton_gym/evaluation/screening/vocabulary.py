"""What the source of an answer may say: the tables of the screen's allow-list.

A host function allocates, views, computes shapes and launches its kernels. What PyTorch computes
(`operators.py`) may be named too, since the `Watch` sees whether it is run. Names of anything else
are not here; adding one means that no answer can hide, remember or escape the `Watch` with it.
"""

from __future__ import annotations

import itertools
import math

from triton_gym.evaluation.screening import operators
from triton_gym.evaluation.screening.language import CUDA, LANGUAGE, LIBDEVICE, MATH

TORCH = operators.TORCH | frozenset(
    {
        # types and constants
        "Tensor", "device", "dtype", "Size", "float16", "float32", "float64", "bfloat16", "half",
        "float", "double", "int", "long", "short", "int8", "int16", "int32", "int64", "uint8",
        "uint16", "uint32", "uint64", "bool", "float8_e4m3fn", "float8_e5m2", "finfo", "iinfo",
        "contiguous_format", "preserve_format", "strided", "inf", "pi", "nan", "e", "newaxis",
        "channels_last", "channels_last_3d", "memory_format", "complex64", "float8_e4m3fnuz",
        "float8_e5m2fnuz", "FloatTensor", "HalfTensor", "BFloat16Tensor", "LongTensor", "IntTensor",
        "BoolTensor",
        # allocation, and tensors of Python's numbers
        "empty", "empty_like", "empty_strided", "empty_permuted", "zeros", "zeros_like", "ones",
        "ones_like", "full", "full_like", "arange", "tensor", "as_tensor", "scalar_tensor",
        # views and copies
        "reshape", "transpose", "permute", "unsqueeze", "squeeze", "flatten", "as_strided", "t",
        "swapaxes", "swapdims", "movedim", "moveaxis", "narrow", "select", "split", "chunk",
        "view_as_real", "unbind", "unflatten", "ravel", "broadcast_tensors", "clone", "detach",
        "atleast_2d", "broadcast_shapes", "broadcast_to", "numel", "is_tensor", "is_floating_point",
        "is_complex", "promote_types", "result_type", "can_cast", "is_grad_enabled",
        "get_default_dtype", "__version__", "version",
        # context
        "cuda", "no_grad", "inference_mode", "enable_grad", "set_grad_enabled", "autocast", "nn",
        "jit", "amp", "autograd", "backends", "Generator", "manual_seed", "seed", "initial_seed",
        "set_float32_matmul_precision",
    }
)  # fmt: skip
TORCH_CUDA = frozenset(
    {
        "device", "current_device", "get_device_properties", "is_available",
        "get_device_capability", "device_of", "get_device_name", "device_count", "synchronize",
        "set_device", "is_bf16_supported", "empty_cache", "amp", "manual_seed",
    }
)  # fmt: skip
TORCH_NN = operators.LAYERS | {"Module", "Parameter", "functional", "Buffer", "init", "parameter"}
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
    "collections": frozenset({"Counter", "OrderedDict", "defaultdict", "deque", "namedtuple"}),
    "collections.abc": _ANNOTATIONS,
    "contextlib": frozenset({"contextmanager", "nullcontext", "suppress"}),
    "dataclasses": frozenset({"dataclass", "field", "replace", "asdict", "astuple", "fields"}),
    "enum": frozenset({"Enum", "IntEnum", "StrEnum", "auto", "unique"}),
    "functools": frozenset({"lru_cache", "cache", "cached_property", "partial", "reduce"}),
    "itertools": frozenset(n for n in dir(itertools) if not n.startswith("_")),
    "math": frozenset(n for n in dir(math) if not n.startswith("_")),
    "operator": frozenset({"add", "sub", "mul", "floordiv", "mod", "itemgetter", "ge", "gt", "le",
                           "lt", "eq", "ne"}),
    "types": frozenset({"SimpleNamespace"}),
    "typing": _ANNOTATIONS,
    "typing_extensions": _ANNOTATIONS,
    "torch": TORCH,
    "torch.amp": frozenset({"custom_fwd", "custom_bwd", "autocast"}),
    "torch.autograd": frozenset({"Function", "function"}),
    "torch.autograd.function": frozenset({"Function"}),
    "torch.backends": frozenset({"cuda", "cudnn"}),
    "torch.backends.cuda": frozenset({"matmul"}),
    "torch.backends.cuda.matmul": frozenset({"allow_tf32"}),
    "torch.backends.cudnn": frozenset({"allow_tf32", "benchmark", "deterministic", "enabled"}),
    "torch.cuda": TORCH_CUDA,
    "torch.cuda.amp": frozenset({"custom_fwd", "custom_bwd"}),
    "torch.jit": frozenset({"is_tracing", "is_scripting"}),
    "torch.nn": TORCH_NN,
    "torch.nn.functional": operators.FUNCTIONAL,
    "torch.nn.init": operators.INITIALISERS,
    "torch.nn.parameter": frozenset({"Parameter", "Buffer"}),
    "torch.version": frozenset({"cuda", "hip"}),
    "triton": TRITON,
    "triton.compiler.errors": frozenset({"CompilationError", "CompileTimeAssertionFailure"}),
    "triton.language": LANGUAGE | {"math", "extra"},
    "triton.language.extra": frozenset({"cuda", "libdevice"}),
    "triton.language.extra.cuda": CUDA,
    "triton.language.extra.cuda.libdevice": LIBDEVICE,
    "triton.language.extra.libdevice": LIBDEVICE,
    "triton.language.math": MATH,
    "triton.runtime": frozenset({"driver", "JITFunction", "Config", "errors"}),
    "triton.runtime.errors": frozenset({"OutOfResources", "PTXASError"}),
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
FUNCTIONS = frozenset({"torch.autograd.Function", "torch.autograd.function.Function"})
"""Bases of a wrapper for autograd. Its `forward` is host code as any other, and runs in the call;
its `backward` never runs."""
FACTORIES = frozenset(
    {
        "typing.NamedTuple", "typing_extensions.NamedTuple", "enum.Enum", "enum.IntEnum",
        "enum.StrEnum",
    }
)  # fmt: skip
"""Classes that make classes from text when called: they serve as bases only."""
BASES = FACTORIES | FUNCTIONS | {"object", "torch.nn.Module"}
"""What a class may inherit from."""
NAMED_TUPLE = "collections.namedtuple"
"""Makes a class from names, which must stand in the call."""
CLASS_DECORATORS = frozenset({"dataclasses.dataclass", "enum.unique"})
"""What may only decorate a class: called on another's, they change it."""
PRIVILEGED = (
    DECORATORS | BASES | CLASS_DECORATORS | {NAMED_TUPLE, "triton.constexpr_function"}
)  # fmt: skip
"""Imports that the screen treats by what they stand for: their names must not be bound again."""
FIXED = frozenset({"super", "type", "getattr", "hasattr"})
"""Builtins that the screen treats by name."""
FLAGS = frozenset(
    {
        "torch.backends.cuda.matmul.allow_tf32", "torch.backends.cudnn.allow_tf32",
        "torch.backends.cudnn.benchmark", "torch.backends.cudnn.deterministic",
        "torch.backends.cudnn.enabled",
    }
)  # fmt: skip
"""Members of modules that may be set: of a PyTorch that computes nothing here."""

BUILTINS = frozenset(
    {
        "abs", "all", "any", "bool", "dict", "divmod", "enumerate", "filter", "float", "frozenset",
        "int", "isinstance", "len", "list", "map", "max", "min", "pow", "print", "range", "repr",
        "reversed", "round", "set", "slice", "sorted", "staticmethod", "classmethod", "property",
        "str", "sum", "super", "tuple", "type", "zip", "callable", "hash", "True", "False", "None",
        "next", "iter", "bin", "hex", "chr", "ord", "format", "object", "Warning", "UserWarning",
        "DeprecationWarning", "RuntimeWarning", "NameError", "OSError", "TimeoutError",
        "NotImplemented", "Ellipsis", "ArithmeticError", "AssertionError", "AttributeError",
        "Exception", "ImportError", "IndexError", "KeyError", "LookupError", "MemoryError",
        "ModuleNotFoundError", "NotImplementedError", "OverflowError", "RuntimeError",
        "StopIteration", "TypeError", "ValueError", "ZeroDivisionError", "__name__",
    }
)  # fmt: skip
"""Builtin names that an answer may use."""

SHADOWED = frozenset(
    {"input", "id", "hash", "iter", "next", "format", "bin", "bytes", "hex", "ord", "abs", "all",
     "any", "max", "min", "pow", "range", "round", "sorted", "sum", "zip"}
)  # fmt: skip
"""Harmless builtin names that an answer may use for variables and functions of its own."""

SETTABLE = frozenset({"block_shape", "requires_grad"})
"""Attributes that may be set on something other than `self`: hooks size descriptors by the first,
constructors freeze parameters by the second."""

ATTRIBUTES = operators.TENSOR | frozenset(
    {
        # of tensors: facts
        "shape", "size", "stride", "numel", "nelement", "dim", "ndim", "dtype", "device",
        "is_contiguous", "is_cuda", "data_ptr", "element_size", "itemsize", "requires_grad",
        "is_floating_point", "storage_offset", "get_device", "index", "type", "nbytes", "is_cpu",
        "is_complex", "is_meta", "is_same_size", "is_sparse", "item", "requires_grad_", "mH", "H",
        # of tensors: views and allocation
        "contiguous", "view", "view_as", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze",
        "transpose", "permute", "t", "T", "mT", "expand", "expand_as", "narrow", "select",
        "as_strided", "unbind", "split", "chunk", "movedim", "swapaxes", "swapdims", "detach",
        "data", "new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided", "zero_",
        "fill_", "to", "ndimension", "broadcast_to", "ravel", "clone", "copy_", "float", "half",
        "bfloat16", "cuda", "cpu", "layout", "moveaxis", "reshape_as", "split_with_sizes",
        "tensor_split", "type_as",
        # of device properties, dtypes and numbers
        "multi_processor_count", "total_memory", "name", "major", "minor", "is_signed", "bits",
        "eps", "tiny", "bit_length", "is_integer", "warp_size", "max_threads_per_multi_processor",
        "shared_memory_per_block_optin", "regs_per_multiprocessor", "L2_cache_size",
        "shared_memory_per_block", "max_threads_per_block", "max", "min", "smallest_normal",
        "resolution",
        # of containers and text
        "append", "extend", "insert", "items", "keys", "values", "get", "update", "copy", "add",
        "pop", "count", "join", "startswith", "endswith", "lower", "upper", "strip", "replace",
        "setdefault", "sort", "clear", "appendleft", "popleft", "cache_clear", "real", "remove",
        "reverse", "title", "rstrip", "lstrip", "ljust", "rjust", "splitlines", "isdigit", "union",
        "intersection", "difference", "issubset", "discard", "popitem", "rotate", "cache_info",
        # of kernels, configs and descriptors
        "kwargs", "num_warps", "num_stages", "num_ctas", "maxnreg", "pre_hook", "configs", "fn",
        "warmup", "element_ty", "scalar", "primitive_bitwidth", "block_shape", "from_tensor",
        "load", "store", "gather", "scatter", "value", "active", "get_current_target",
        "get_active_torch_device", "get_current_device", "get_device_properties", "backend",
        "arch", "utils", "base", "best_config", "all_kwargs", "shared_memory_per_multiprocessor",
        "ALL", "NONE", "is_fp8", "is_fp16", "is_bf16", "is_fp32", "is_floating", "is_int",
        "int_bitwidth",
        "n_regs", "n_spills", "metadata", "shared", "metadata_group",
        "run", "grid",
        # of modules
        "weight", "bias", "register_buffer", "register_parameter", "forward", "in_features",
        "out_features", "training", "normalized_shape", "add_module", "apply", "buffers",
        "children", "modules", "named_buffers", "named_children", "named_modules",
        "named_parameters", "parameters", "state_dict", "load_state_dict", "eval", "train",
        "extra_repr", "reset_parameters", "zero_grad", "manual_seed", "affine", "align_corners",
        "alpha", "approximate", "batch_first", "beta", "bidirectional", "ceil_mode",
        "count_include_pad",
        "dilation", "elementwise_affine", "embed_dim", "embedding_dim", "groups", "head_dim",
        "hidden_size", "in_channels", "in_proj_bias", "in_proj_weight", "inplace", "input_size",
        "kernel_size", "lambd", "max_val", "min_val", "momentum", "negative_slope",
        "num_batches_tracked", "num_channels", "num_embeddings", "num_features", "num_groups",
        "num_heads", "num_layers", "num_parameters", "out_channels", "out_proj", "output_padding",
        "output_size", "p", "padding", "padding_idx", "padding_mode", "running_mean",
        "running_var", "scale_factor", "threshold", "track_running_stats",
        *(f"{kind}_{gate}_l{layer}{way}" for kind in ("weight", "bias") for gate in ("ih", "hh")
          for layer in range(8) for way in ("", "_reverse")),
        # of the context of an autograd function
        "save_for_backward", "saved_tensors", "mark_non_differentiable", "needs_input_grad",
        "set_materialize_grads",
    }
)  # fmt: skip
"""Attributes that may be read of anything that is not a module."""

DEFINED = frozenset({"backward", "setup_context"})
"""Methods that a class may define and that nothing may name: of tensors they run other threads."""
RECEIVERS = frozenset({"self", "ctx"})
"""Names whose attributes may be set. Since any object may go by them, `FIELDS` has the say."""
FIELDS = operators.TENSOR | operators.TORCH | operators.FUNCTIONAL | {
    "weight", "bias", "dtype", "device", "eps", "training", "in_features", "out_features",
    "normalized_shape", "num_warps", "num_stages", "name", "value", "forward", "dim", "shape",
    "stride", "size", "layout", "index", "padding", "scale", "kernel_size", "mode", "p", "T",
    "saved", "needs_input_grad", "major", "minor", "start", "stop", "step", "count", "split",
    "args", "keywords", "upper", "lower", "grid", "kwargs", "configs", "data", "requires_grad",
}  # fmt: skip
"""Fields that a class may have although other objects have them: setting them gains nothing.

Nothing that the evaluation calls on an object that an answer can name is among them: it reads
`shape`, `dtype` and `device` of a result, and an answer that makes these lie is left with a result
that does not fit its slot or is compared and found wrong.
"""

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
        "MatchMapping",
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

METHODS = frozenset(
    {"__init__", "__post_init__", "__call__", "__repr__", "__str__", "__len__", "__getitem__",
     "__enter__", "__exit__"}
)  # fmt: skip
"""Double-underscore functions that a class may define."""
