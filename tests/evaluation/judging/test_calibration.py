"""What stands in an answer's place while the judge measures what lies beside its calls."""

from __future__ import annotations

import pytest
import torch

from triton_gym.evaluation.judging.calibration import _pieces
from triton_gym.evaluation.trees import memory


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(100.0)[None].expand(3, 100),
        torch.arange(1001, dtype=torch.float16)[1:],  # begins within a word
        torch.ones(3, dtype=torch.bool),  # less than a word
        torch.ones(5, 6).T,
        torch.empty(0),
    ],
)
def test_all_whole_words_of_any_tensor_are_in_its_pieces(tensor):
    pieces = [piece for part in _pieces([tensor]) for piece in part]
    found = torch.cat([torch.empty(0, dtype=torch.int32), *pieces])
    raw = memory(tensor).clone().view(torch.uint8)
    assert found.view(torch.uint8).equal(raw[: len(raw) // 4 * 4])
