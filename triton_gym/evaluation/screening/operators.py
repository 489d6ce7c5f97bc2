"""Names of what PyTorch computes: an answer may say them, and may not run them in a call.

People write them where they do no harm: a reference for a test, a branch for tensors on the CPU,
layers that only hold parameters. A name tells none of these from a cheat; the `Watch`, under which
every call runs, does: it sees each operator that is dispatched. So what stands here must be such an
operator, or Python around some. Nothing here starts a thread, compiles, reads memory or files,
or gives Python's numbers for tensors: those would pass unseen, and are not in the vocabulary.
"""

from __future__ import annotations

_SHARED = frozenset(
    {
        # elementwise
        "abs", "absolute", "acos", "acosh", "add", "addcdiv", "addcmul", "asin", "asinh", "atan",
        "atan2", "atanh", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or",
        "bitwise_right_shift", "bitwise_xor", "ceil", "clamp", "clamp_max", "clamp_min", "clip",
        "copysign", "cos", "cosh", "div", "divide", "eq", "erf", "erfc", "erfinv", "exp", "exp2",
        "expm1", "fix", "float_power", "floor", "floor_divide", "fmax", "fmin", "fmod", "frac",
        "ge", "greater", "greater_equal", "gt", "heaviside", "hypot", "isclose", "isfinite",
        "isinf", "isnan", "ldexp", "le", "lerp", "less", "less_equal", "lgamma", "log", "log10",
        "log1p", "log2", "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor",
        "logit", "lt", "masked_fill", "maximum", "minimum", "mul", "multiply", "nan_to_num", "ne",
        "neg", "negative", "not_equal", "pow", "reciprocal", "relu", "remainder", "round", "rsqrt",
        "sigmoid", "sign", "sin", "sinh", "sqrt", "square", "sub", "subtract", "tan", "tanh",
        "true_divide", "trunc", "where", "xlogy",
        # reductions and scans
        "all", "allclose", "amax", "amin", "aminmax", "any", "argmax", "argmin", "count_nonzero",
        "cummax", "cummin", "cumprod", "cumsum", "dist", "equal", "log_softmax", "logcumsumexp",
        "logsumexp", "max", "mean", "median", "min", "mode", "nanmean", "nansum", "norm", "prod",
        "quantile", "softmax", "std", "sum", "trace", "var",
        # products
        "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "cross", "dot", "ger", "inner",
        "kron", "matmul", "mm", "mv", "outer", "vdot",
        # moving and choosing
        "argsort", "argwhere", "bincount", "diag", "diag_embed", "diagflat", "diagonal", "diff",
        "flip", "fliplr", "flipud", "gather", "histc", "index_add", "index_copy", "index_fill",
        "index_select", "masked_scatter", "masked_select", "nonzero", "repeat_interleave", "roll",
        "rot90", "scatter", "scatter_add", "scatter_reduce", "sort", "take", "take_along_dim",
        "tile", "topk", "tril", "triu", "unique",
    }
)  # fmt: skip
TORCH = _SHARED | {
    "adaptive_avg_pool1d", "avg_pool1d", "batch_norm", "bernoulli", "bucketize", "cat", "cdist",
    "concat", "concatenate", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "cosine_similarity", "dropout", "dstack", "einsum", "embedding", "eye",
    "group_norm", "hstack", "instance_norm", "isin", "layer_norm", "linspace", "logspace",
    "max_pool1d", "max_pool2d", "max_pool3d", "meshgrid", "multinomial", "normal",
    "pairwise_distance", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like",
    "randperm", "rms_norm", "searchsorted", "selu", "stack", "std_mean", "tensordot",
    "tril_indices", "triu_indices",
    "var_mean", "vstack",
}  # fmt: skip
"""Functions of `torch`."""
TENSOR = (
    _SHARED
    | {
        "bernoulli_", "masked_fill_", "normal_", "random_", "uniform_", "exponential_", "cauchy_",
        "index_put", "index_put_", "index_add_", "index_copy_", "index_fill_", "scatter_",
        "scatter_add_", "scatter_reduce_", "fill_diagonal_", "tril_", "triu_", "cumsum_",
        "cumprod_", "squeeze_", "unsqueeze_", "repeat", "unfold", "index_reduce_", "addmm_",
        "baddbmm_", "bool", "byte", "char", "double", "int", "long", "short", "new_tensor",
    }
    | {
        name + "_"
        for name in (
            "abs", "add", "addcdiv", "addcmul", "ceil", "clamp", "clamp_max", "clamp_min", "clip",
            "cos", "div", "eq", "erf", "exp", "exp2", "floor", "ge", "gt", "le", "lerp", "log",
            "lt", "mul", "nan_to_num", "ne", "neg", "pow", "reciprocal", "relu", "remainder",
            "round", "rsqrt", "sigmoid", "sign", "sin", "sqrt", "square", "sub", "tanh", "trunc",
        )
    }
)  # fmt: skip
"""Methods of tensors."""
FUNCTIONAL = frozenset(
    {
        "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
        "adaptive_max_pool2d", "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
        "batch_norm", "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu", "conv1d",
        "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
        "cosine_embedding_loss", "cosine_similarity", "cross_entropy", "dropout", "elu",
        "embedding", "fold", "gelu", "glu", "group_norm", "hardshrink", "hardsigmoid", "hardswish",
        "hardtanh", "hinge_embedding_loss", "huber_loss", "instance_norm", "interpolate", "kl_div",
        "l1_loss", "layer_norm", "leaky_relu", "linear", "local_response_norm", "log_softmax",
        "logsigmoid", "margin_ranking_loss", "max_pool1d", "max_pool2d", "max_pool3d", "mish",
        "mse_loss", "nll_loss", "normalize", "one_hot", "pad", "pairwise_distance",
        "pixel_shuffle", "prelu", "relu", "relu6", "rms_norm", "scaled_dot_product_attention",
        "selu", "sigmoid", "silu", "smooth_l1_loss", "softmax", "softmin", "softplus",
        "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "triplet_margin_loss",
        "unfold",
    }
)  # fmt: skip
"""Functions of `torch.nn.functional`."""
LAYERS = frozenset(
    {
        "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
        "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "BCELoss",
        "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "Bilinear", "CELU",
        "ConstantPad1d", "ConstantPad2d", "ConstantPad3d", "Conv1d", "Conv2d", "Conv3d",
        "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "CosineSimilarity",
        "CrossEntropyLoss", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "ELU", "Embedding",
        "Flatten", "Fold", "GELU", "GLU", "GRU", "GRUCell", "GroupNorm", "Hardshrink",
        "Hardsigmoid", "Hardswish", "Hardtanh", "HingeEmbeddingLoss", "HuberLoss", "Identity",
        "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "KLDivLoss", "L1Loss", "LSTM",
        "LSTMCell", "LayerNorm", "LeakyReLU", "Linear", "LocalResponseNorm", "LogSigmoid",
        "LogSoftmax", "MSELoss", "MarginRankingLoss", "MaxPool1d", "MaxPool2d", "MaxPool3d",
        "Mish", "ModuleDict", "ModuleList", "MultiheadAttention", "NLLLoss", "PReLU",
        "PairwiseDistance", "ParameterDict", "ParameterList", "PixelShuffle", "RMSNorm", "RNN",
        "RNNCell", "ReLU", "ReLU6", "SELU", "Sequential", "SiLU", "Sigmoid", "SmoothL1Loss",
        "Softmax", "Softmax2d", "Softmin", "Softplus", "Softshrink", "Softsign", "Tanh",
        "Tanhshrink", "Threshold", "TransformerEncoder", "TransformerEncoderLayer",
        "TripletMarginLoss", "Unflatten", "Unfold", "Upsample", "ZeroPad2d",
    }
)  # fmt: skip
"""Layers of `torch.nn`, for the parameters that they hold. Lazy and parallel ones are not here:
those run hooks, these threads, which the `Watch` does not follow."""
INITIALISERS = frozenset(
    {
        "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_",
        "normal_", "ones_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_",
        "xavier_normal_", "xavier_uniform_", "zeros_",
    }
)  # fmt: skip
"""Functions of `torch.nn.init`."""
