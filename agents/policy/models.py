"""Loading a model and its tokenizer, with errors that say what to do."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from triton_gym.errors import DeviceError, InvalidOptionError, RunError

from .settings import PolicySettings
from .smollm2 import packaged_file, unpacked
from .tiny import tiny_model, tiny_tokenizer

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|endoftext|>", "</s>", "<|end|>")
"""Marks that end a reply in the usual chat templates, where the tokenizer has them."""


@dataclass(slots=True)
class Policy:
    """A language model that acts."""

    model: Any
    """A transformers causal language model, or peft's wrapper of one."""
    tokenizer: Any
    name: str
    """What it was asked for as."""
    device: torch.device
    stops: tuple[int, ...]
    """Tokens that end a reply."""
    context: int
    """Longest sequence, in tokens."""

    @property
    def pad(self) -> int:
        """The token that fills rows up."""
        number = self.tokenizer.pad_token_id
        return int(self.stops[0] if number is None else number)

    def save(self, folder: Path) -> None:
        """Write weights (or adapters) and tokenizer as transformers loads them."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def load_policy(settings: PolicySettings, *, seed: int = 0) -> Policy:
    """The policy that the settings describe, in evaluation mode.

    Args:
        settings: see there.
        seed: of random weights, and of fresh adapters.

    Raises:
        InvalidOptionError: there is no such model, it has no chat template, or a package lacks.
        DeviceError: it does not fit the device.
    """
    if importlib.util.find_spec("transformers") is None:
        raise InvalidOptionError("Policies need transformers: pip install 'triton-gym[grpo]'.")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # a bar for every checkpoint would break ours
    device = device_of(settings.device)
    dtype = _dtype(settings.dtype, device)
    avoid_cudnn_attention()
    try:
        if settings.model == "tiny-random":
            model, tokenizer = tiny_model(seed), tiny_tokenizer()
        else:
            model, tokenizer = _pretrained(settings, dtype, seed)
        model = model.to(device=device, dtype=dtype)
    except torch.cuda.OutOfMemoryError as error:
        raise DeviceError(
            f"policy.model={settings.model!r} does not fit {device}: {error}. Choose a smaller "
            "model, policy.dtype=bfloat16, or another policy.device."
        ) from None
    _template(tokenizer, settings)
    stops = stop_tokens(model, tokenizer)
    context = int(getattr(model.config, "max_position_embeddings", 0) or 0) or 1 << 20
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if hasattr(model, "enable_input_require_grads") and settings.lora_rank:
            model.enable_input_require_grads()
    if settings.lora_rank and not hasattr(model, "peft_config"):
        model = _adapted(model, settings, seed)
    model.eval()
    return Policy(model, tokenizer, settings.model, device, stops, context)


def avoid_cudnn_attention() -> None:
    """Have PyTorch take its other attention kernels, from here on.

    On Hopper GPUs the gradient of cuDNN's is NaN for some lengths of rows with a mask, as padded
    and packed ones have (pytorch/pytorch#196678, since torch 2.11).
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def device_of(name: str) -> torch.device:
    """The torch device of a setting; in a run over several GPUs, `auto` is the process's own.

    Raises:
        InvalidOptionError: it is not the name of a device.
    """
    import os

    if name != "auto":
        try:
            return torch.device(name)
        except RuntimeError as error:
            raise InvalidOptionError(f"policy.device={name!r}: {error}") from None
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def stop_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Tokens after which a reply is over.

    Raises:
        InvalidOptionError: neither the model nor its tokenizer names one.
    """
    found: list[int] = []
    generation = getattr(model, "generation_config", None)
    for given in (tokenizer.eos_token_id, getattr(generation, "eos_token_id", None)):
        found += [given] if isinstance(given, int) else list(given or [])
    vocabulary = tokenizer.get_vocab()
    found += [vocabulary[mark] for mark in _ENDS if mark in vocabulary]
    if not found:
        raise InvalidOptionError("The tokenizer has no token that ends a reply (eos_token).")
    return tuple(dict.fromkeys(int(number) for number in found))


def resolve_source(name: str) -> str:
    """What transformers is to load: an id, or the folder that a name stands for.

    A run folder stands for its last checkpoint.

    Raises:
        InvalidOptionError: it looks like a path and is not there.
    """
    if name == "smollm2":
        return str(unpacked(packaged_file()))
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        return str(unpacked(path))
    if path.is_dir():
        inner = sorted((path / "checkpoints").glob("step-*"))
        return str(inner[-1] if inner else path)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise InvalidOptionError(f"policy.model={name!r}: there is no such folder.")
    return name


def _pretrained(settings: PolicySettings, dtype: torch.dtype, seed: int) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source = resolve_source(settings.model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        if settings.random_weights:
            config = AutoConfig.from_pretrained(source)
            torch.manual_seed(seed)
            with torch.device(device_of(settings.device)):
                model = AutoModelForCausalLM.from_config(
                    config, dtype=dtype, attn_implementation=settings.attention
                )
        else:
            model = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, attn_implementation=settings.attention
            )
    except torch.cuda.OutOfMemoryError:
        raise
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InvalidOptionError(
            f"policy.model={settings.model!r} cannot be loaded: {reason} Give a Hugging Face id, "
            "a local folder with a causal language model and its tokenizer, 'smollm2' or "
            "'tiny-random'."
        ) from None
    return model, tokenizer


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    found: torch.dtype = getattr(torch, name)
    return found


def _template(tokenizer: Any, settings: PolicySettings) -> None:
    given = settings.chat_template
    if given == "chatml":
        tokenizer.chat_template = CHATML
    elif given:
        try:
            tokenizer.chat_template = Path(given).read_text(encoding="utf-8")
        except OSError as error:
            raise InvalidOptionError(
                f"policy.chat_template={given!r} is neither 'chatml' nor a file: {error}."
            ) from None
    if not getattr(tokenizer, "chat_template", None):
        raise InvalidOptionError(
            f"policy.model={settings.model!r} has no chat template. Set "
            "policy.chat_template=chatml, or to a file with a Jinja template."
        )


def _adapted(model: Any, settings: PolicySettings, seed: int) -> Any:
    if importlib.util.find_spec("peft") is None:
        raise InvalidOptionError("policy.lora_rank needs peft: pip install 'triton-gym[grpo]'.")
    from peft import LoraConfig, get_peft_model

    chosen = [part.strip() for part in settings.lora_targets.split(",")]
    torch.manual_seed(seed)
    try:
        return get_peft_model(
            model,
            LoraConfig(
                r=settings.lora_rank,
                lora_alpha=settings.lora_alpha,
                lora_dropout=0.0,
                target_modules=chosen[0] if chosen == ["all-linear"] else chosen,
                task_type="CAUSAL_LM",
            ),
        )
    except ValueError as error:
        raise InvalidOptionError(
            f"policy.lora_targets={settings.lora_targets!r}: {error}"
        ) from None


def adapters_folder(folder: Path) -> bool:
    """Whether a checkpoint holds adapters rather than a whole model."""
    return (folder / "adapter_config.json").is_file()


def reload_weights(policy: Policy, folder: Path) -> None:
    """Put the weights of a checkpoint into a policy that was made with the same settings.

    Raises:
        RunError: the checkpoint is of another model.
    """
    from safetensors.torch import load_file

    state: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        state.update(load_file(file))
    try:
        if adapters_folder(folder):
            from peft import set_peft_model_state_dict

            set_peft_model_state_dict(policy.model, state)
            return
        missing, extra = policy.model.load_state_dict(state, strict=False)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"{folder} holds another model: {error}") from None
    tied = set(getattr(policy.model, "all_tied_weights_keys", None) or [])
    tied |= set(getattr(policy.model, "_tied_weights_keys", None) or [])
    if extra or set(missing) - tied:
        raise RunError(f"{folder} holds another model: {sorted({*extra, *missing})[:3]} differ.")
