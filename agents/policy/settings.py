"""What a policy is loaded from and how its replies are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from triton_gym.errors import InvalidOptionError, unknown

DTYPES = ("auto", "bfloat16", "float16", "float32")
CACHES = ("auto", "dynamic", "graph", "static")
ATTENTIONS = ("auto", "model", "triton")
BACKENDS = ("transformers", "vllm")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """Which model, and in what form."""

    model: str = "smollm2"
    """`smollm2`, `tiny-random`, a Hugging Face id, a local folder, or a `.gguf` file."""
    device: str = "auto"
    """A torch device; `auto` is this process's GPU if there is one, else the CPU."""
    dtype: str = "auto"
    """Of the weights: `auto` is bfloat16 on a GPU and float32 elsewhere."""
    chat_template: str = ""
    """For a model without one: `chatml`, or a file with a Jinja template."""
    attention: str = "sdpa"
    """transformers' `attn_implementation`."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    random_weights: bool = False
    """Take the shape alone, with random weights: to measure memory and speed."""
    lora_rank: int = 0
    """Train low-rank adapters of this rank instead of all weights; 0 for all weights."""
    lora_alpha: float = 32.0
    lora_targets: str = "all-linear"
    """Names of the layers that get adapters, separated by commas, or `all-linear`."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise unknown("policy.dtype", self.dtype, DTYPES)
        if self.lora_rank < 0:
            raise InvalidOptionError(f"policy.lora_rank must be 0 or more; got {self.lora_rank}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings:
    """How replies are drawn."""

    temperature: float = 1.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have this probability."""
    longest: int = 1024
    """Tokens of the longest reply."""
    batch: int = 64
    """Replies that are sampled together."""
    cache: str = "auto"
    """Keys and values: `dynamic` grows; `static` has its full size from the start; `graph` is
    static and replays a step as one CUDA graph; `auto` is `graph` on a GPU, else `dynamic`."""
    attention: str = "auto"
    """Of a decoding step with keys and values of full size: `model` is the model's own and reads
    all of them, `triton` reads what each row has, and nothing for rows that are done; `auto` is
    `triton` where a step is recorded and the model's attention is of its kind, else `model`."""
    backend: str = "transformers"
    """`transformers`, or `vllm` for a server that runs already."""
    url: str = ""
    """Of the vLLM server, e.g. `http://localhost:8000`."""
    shared: str = ""
    """Folder for weights that the server can read as well; a temporary one unless given."""
    timeout_s: float = 600.0
    """For one request to the server."""

    def __post_init__(self) -> None:
        if self.cache not in CACHES:
            raise unknown("sampling.cache", self.cache, CACHES)
        if self.attention not in ATTENTIONS:
            raise unknown("sampling.attention", self.attention, ATTENTIONS)
        if self.backend not in BACKENDS:
            raise unknown("sampling.backend", self.backend, BACKENDS)
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise InvalidOptionError(
                "sampling.temperature must be 0 or more and sampling.top_p in (0, 1]; got "
                f"{self.temperature} and {self.top_p}."
            )
        if self.longest < 1 or self.batch < 1:
            raise InvalidOptionError(
                f"sampling.longest and sampling.batch must be 1 or more; got {self.longest} and "
                f"{self.batch}."
            )
        if self.backend == "vllm" and not self.url:
            raise InvalidOptionError("sampling.backend=vllm needs sampling.url of the server.")
