"""Training a model as it samples: without dropout.

In reinforcement learning the trainer has to find the replies as likely as the sampler did. With a
model's own dropout it scores another network every time: GPT-2's configuration drops a tenth, and
the mean divergence between the two is then 0.33 nats a token where 0 is right.
"""

from __future__ import annotations

from typing import Any


def without_dropout(model: Any) -> None:
    """Have a model compute what it computes when it samples; gradients flow as ever.

    Every module is switched to evaluation, which is what dropout looks at. Those that checkpoint
    their gradients do so only while they train, so they stay switched to training, and dropout that
    is theirs alone, a number among their attributes, is set to zero.
    """
    model.eval()
    for module in model.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True
            for name, value in vars(module).items():
                if "drop" in name and isinstance(value, float):
                    setattr(module, name, 0.0)
