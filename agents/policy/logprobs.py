"""Log-probabilities of given tokens, without a table of tokens × vocabulary.

At 64 replies of 1024 tokens and 150,000 words a table of logits in fp32 is 39 GB. Here the hidden
states meet the output layer a chunk of tokens at a time, and a chunk is computed again for the
gradient, so the largest table is chunk × vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

CHUNK = 4096
"""Tokens at a time: 0.8 GB of fp32 logits at 49,152 words."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model says of tokens that are already there, at positions 1, 2, … of each row."""

    logps: torch.Tensor
    """Log-probability of each token given those before it, float32 `(rows, tokens − 1)`."""
    entropy: torch.Tensor
    """Entropy of the distribution it was drawn from, in nats, float32, without gradient."""
    best: torch.Tensor
    """Bool: no token was likelier."""


def token_logprobs(
    model: Any,
    tokens: torch.Tensor,
    *,
    temperature: float = 1.0,
    keep: torch.Tensor | None = None,
    chunk: int = CHUNK,
    positions: torch.Tensor | None = None,
) -> Scores:
    """Score the tokens of right-padded rows.

    Right padding needs no attention mask: no token sees what comes after it.

    Args:
        model: a transformers causal language model, or peft's wrapper of one.
        tokens: `(rows, length)`, int64.
        temperature: that the tokens were sampled at; logits are divided by it.
        keep: bool `(rows, length − 1)`, which tokens (from the second on) to score. The others
            get 0 and cost nothing at the output layer.
        chunk: tokens whose logits exist at the same time.
        positions: `(rows, length)`; for packed rows, where each example starts again at 0.
    """
    inputs: dict[str, Any] = {"input_ids": tokens, "use_cache": False}
    if positions is not None:
        inputs["position_ids"] = positions
    chosen = torch.ones_like(tokens[:, 1:], dtype=torch.bool) if keep is None else keep
    logps = torch.zeros(chosen.shape, dtype=torch.float32, device=tokens.device)
    entropy = torch.zeros_like(logps)
    best = torch.zeros_like(chosen)
    targets = tokens[:, 1:][chosen]
    decoder = decoder_of(model)
    if decoder is None:  # a model that does more to its logits than multiply: ask it for them
        hidden = model(**inputs).logits[:, :-1][chosen]
        head: Any = _as_they_are
    else:
        hidden = decoder(**inputs).last_hidden_state[:, :-1][chosen]
        head = model.get_output_embeddings()
    parts = [
        _chunk(head, hidden[i : i + chunk], targets[i : i + chunk], temperature)
        for i in range(0, len(targets), chunk)
    ]
    if parts:
        logps = logps.masked_scatter(chosen, torch.cat([part[0] for part in parts]))
        entropy = entropy.masked_scatter(chosen, torch.cat([part[1] for part in parts]))
        best = best.masked_scatter(chosen, torch.cat([part[2] for part in parts]))
    return Scores(logps, entropy, best)


def decoder_of(model: Any) -> Any:
    """The part of a model below its output layer, or None if the two do not make the whole.

    Gemma caps its logits, Cohere and Granite scale them: for these the model itself is asked.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = getattr(base, "config", None)
    extras = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale")
    if any(getattr(config, name, None) not in (None, 1, 1.0) for name in extras):
        return None
    if not hasattr(base, "get_decoder") or base.get_output_embeddings() is None:
        return None
    decoder = base.get_decoder()
    return None if decoder is base else decoder


def _as_they_are(logits: torch.Tensor) -> torch.Tensor:
    return logits


def _chunk(
    head: Any, hidden: torch.Tensor, targets: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if torch.is_grad_enabled():
        found = checkpoint(_score, head, hidden, targets, temperature, use_reentrant=False)
    else:
        found = _score(head, hidden, targets, temperature)
    return found  # type: ignore[no-any-return]


def _score(
    head: Any, hidden: torch.Tensor, targets: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`Scores` of `(n,)` tokens from `(n, width)` hidden states."""
    logits = head(hidden).float() / temperature
    total = torch.logsumexp(logits, -1)
    logps = logits.gather(-1, targets[:, None])[:, 0] - total
    with torch.no_grad():
        # Not through the logits: those that a model masks are infinite.
        entropy = torch.special.entr(torch.softmax(logits, -1)).sum(-1)
        best = logits.argmax(-1) == targets
    return logps, entropy, best
