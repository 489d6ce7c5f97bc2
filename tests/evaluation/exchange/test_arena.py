from __future__ import annotations

import torch

from triton_gym.evaluation.exchange.arena import put, rows_of, view
from triton_gym.evaluation.exchange.block import Layout, Slot

RESULTS = (((3, 5), "float32"), ((), "float32"), ((7,), "int8"), ((2, 3), "float16"))


def test_results_of_many_calls_are_seen_as_one_tensor():
    layout = Layout()
    sets = [[layout.place(shape, dtype) for shape, dtype in RESULTS] for _ in range(4)]
    end = max(slot.offset + slot.bytes for slot in sets[-1])
    block = torch.randint(0, 100, (512 + end,), dtype=torch.uint8)[512:]
    pitch = sets[1][0].offset - sets[0][0].offset
    for which, (shape, _) in enumerate(RESULTS):
        together = rows_of(block, sets[1][which], pitch, 3)
        assert together.shape == (3, *(shape or (1,)))
        for index in range(3):
            alone = view(block, sets[1 + index][which])
            assert torch.equal(together[index].reshape(shape), alone)
            assert together[index].data_ptr() == alone.data_ptr(), "nothing is copied"


def test_a_tensor_of_any_strides_keeps_them_and_its_values():
    base = torch.arange(60.0).view(5, 12)
    tensors = [base.t(), base[1:4, ::3], base[:1].expand(4, 12), base[0, 0], base[:0], base]
    layout = Layout()
    slots = [layout.same(tensor) for tensor in tensors]
    block = torch.zeros(layout.end, dtype=torch.uint8)
    for slot, tensor in zip(slots, tensors, strict=True):
        made = put(view(block, Slot.read(slot.message())), tensor)
        assert torch.equal(made, tensor)
        assert made.stride() == tensor.stride()
