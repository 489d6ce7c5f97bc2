from __future__ import annotations

import torch

from triton_gym.evaluation.exchange.arena import Layout, rows_of, view

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
