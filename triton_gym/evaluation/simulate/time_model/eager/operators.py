"""Which kernels PyTorch launches for an operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from triton_gym.evaluation.simulate.time_model.eager import (
    indexing,
    ordering,
    pointwise,
    products,
    reductions,
)
from triton_gym.evaluation.simulate.time_model.eager.call import Call, Model
from triton_gym.evaluation.simulate.time_model.eager.kernel import Kernel


def _table() -> Iterator[tuple[str, Model]]:
    groups: tuple[tuple[Model, str], ...] = (
        (reductions.reduced, "sum mean prod amax amin max min argmax argmin any all norm nansum "
                             "linalg_vector_norm var std var_mean std_mean aminmax count_nonzero"),
        (reductions.logsumexp, "logsumexp"),
        (reductions.softmax, "softmax log_softmax safe_softmax"),
        (reductions.layer_norm, "native_layer_norm"),
        (reductions.group_norm, "native_group_norm"),
        (reductions.batch_norm, "native_batch_norm native_batch_norm_legit cudnn_batch_norm "
                                "native_batch_norm_legit_no_training batch_norm_with_update"),
        (reductions.cross_entropy_picks, "nll_loss_forward nll_loss2d_forward"),
        (reductions.loss, "mse_loss smooth_l1_loss huber_loss binary_cross_entropy "
                          "soft_margin_loss binary_cross_entropy_with_logits"),
        (ordering.scanned, "cumsum cumprod cummax cummin logcumsumexp cummax_helper cummin_helper "
                           "cumsum_ cumprod_"),
        (ordering.sorted_, "sort msort argsort"),
        (ordering.largest, "topk kthvalue median mode nanmedian"),
        (ordering.searched, "searchsorted bucketize"),
        (indexing.looked_up, "index index_select embedding unsafe_index take"),
        (indexing.gathered, "gather take_along_dim"),
        (indexing.put, "index_put index_copy index_add index_reduce index_fill scatter "
                       "scatter_add scatter_reduce unsafe_index_put index_put_impl"),
        (indexing.bag, "embedding_bag embedding_bag_forward_only"),
        (indexing.joined, "cat concat stack"),
        (indexing.padded, "constant_pad_nd"),
        (indexing.flipped, "flip roll"),
        (indexing.triangle, "tril triu"),
        (products.product, "mm bmm addmm baddbmm mv addmv dot int_mm grouped_mm scaled_mm"),
        (products.convolution, "convolution convolution_overrideable"),
        (products.pooled, "avg_pool1d avg_pool2d avg_pool3d max_pool2d_with_indices "
                          "max_pool3d_with_indices adaptive_avg_pool2d adaptive_avg_pool3d"),
        (pointwise.copied, "clone copy to_copy contiguous copy_"),
        (pointwise.masked_fill, "masked_fill"),
        (pointwise.repeated, "repeat"),
    )  # fmt: skip
    for model, names in groups:
        for name in names.split():
            yield name, model


MODELS: Mapping[str, Model] = dict(_table())
"""By the operator's name, without underscores around it."""


def kernels_of(call: Call) -> Sequence[Kernel]:
    """The kernels of a call, in order."""
    if pointwise.launches_nothing(call):
        return []
    name = call.name
    if pointwise.is_made(call):
        return pointwise.filled(call)
    model = MODELS.get(name)
    if name in ("max", "min") and isinstance(call.argument(1, "other"), torch.Tensor):
        model = None
    if model is not None:
        try:
            return model(call)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            # An overload with other arguments than the model knows: what it moves still counts.
            return pointwise.unknown(call)
    if call.inputs and (torch.Tag.pointwise in call.func.tags or _like_each_other(call)):
        return pointwise.pointwise(call)
    return pointwise.unknown(call)


def _like_each_other(call: Call) -> bool:
    """Whether all tensors have one shape, as those of elementwise operators do."""
    return len({t.shape for t in (*call.inputs, *call.outputs)}) == 1
