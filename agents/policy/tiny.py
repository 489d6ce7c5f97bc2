"""`tiny-random`: a model of two layers that knows nothing, for tests and for trying things out.

It has a tokenizer of single ASCII characters and a chat template, and needs no download.
"""

from __future__ import annotations

from typing import Any

TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'][0] + '>' + message['content'] + '<e>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<a>' }}{% endif %}"
)
"""`<u>text<e><a>reply<e>`, each mark a token of its own."""
MARKS = ("<p>", "<e>", "<?>", "<s>", "<u>", "<a>")
"""Padding, end of a message, unknown, and the beginnings of the roles' messages."""


def tiny_tokenizer() -> Any:
    """Characters 9, 10 and 32 to 126, one token each, and `MARKS`."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = ["\t", "\n", *map(chr, range(32, 127))]
    vocabulary = {token: number for number, token in enumerate([*MARKS, *letters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<?>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<p>",
        eos_token="<e>",
        unk_token="<?>",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def tiny_model(seed: int, *, width: int = 64, layers: int = 2, context: int = 4096) -> Any:
    """A Llama of two layers with random weights, the same for the same seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(MARKS) + 97,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
