"""Sampling from a vLLM server that runs already, and giving it the policy's new weights.

The server is told what to load from a folder that both can read::

    VLLM_SERVER_DEV_MODE=1 VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 \\
        vllm serve MODEL --logprobs-mode processed_logprobs [--enable-lora]

Without that mode of log-probabilities they are those before the temperature, which the correction
for the sampler's mismatch would take for a difference. Whole models are reloaded through
`/collective_rpc`; adapters are loaded under a new name for each version.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from triton_gym.errors import RunError

from ..chat.models import post
from .models import Policy, adapters_folder
from .sampling import Reply, Sampler
from .settings import SamplingSettings

_TRIES = 5


class ServerSampler(Sampler):
    """Samples through `/v1/completions` with tokens in and tokens out."""

    def __init__(self, policy: Policy, settings: SamplingSettings) -> None:
        self.policy = policy
        self.settings = settings
        self._url = settings.url.rstrip("/").removesuffix("/v1")
        self._version = 0
        self._adapter = ""
        self._folder: Path | None = None

    def stream(self, prompts: Sequence[Sequence[int]], seed: int) -> Iterator[tuple[int, Reply]]:
        """One reply to each prompt, as they are done.

        Raises:
            RunError: the server failed, or answers without tokens and their probabilities.
        """
        with ThreadPoolExecutor(self.settings.batch) as pool:
            futures = {
                pool.submit(self._one, list(prompt), (seed + number) % (1 << 31)): number
                for number, prompt in enumerate(prompts)
            }
            for future in as_completed(futures):
                yield futures[future], future.result()

    def update(self) -> None:
        """Write the weights to the shared folder and have the server load them.

        Of several processes that train together the first one does.

        Raises:
            RunError: the folder cannot be written, or the server refuses.
        """
        if int(os.environ.get("RANK", 0)):
            return
        self._version += 1
        target = Path(self.settings.shared or tempfile.gettempdir())
        folder = target / f"triton-gym-policy-{os.getpid()}-{self._version}"
        try:
            self.policy.save(folder)
        except OSError as error:
            raise RunError(f"Cannot write weights for the server to {folder}: {error}.") from None
        if adapters_folder(folder):
            name = f"policy-{self._version}"
            self._post("v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
            old, self._adapter = self._adapter, name
            if old:
                self._post("v1/unload_lora_adapter", {"lora_name": old})
        else:
            call = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
            self._post("collective_rpc", call)
            self._post("reset_prefix_cache", {})
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = folder

    def _one(self, prompt: list[int], seed: int) -> Reply:
        body: dict[str, Any] = {
            "prompt": prompt, "max_tokens": self.settings.longest, "seed": seed,
            "temperature": self.settings.temperature, "top_p": self.settings.top_p,
            "logprobs": 1, "return_token_ids": True, "stop_token_ids": list(self.policy.stops),
            "skip_special_tokens": False,
        }  # fmt: skip
        if self._adapter:
            body["model"] = self._adapter
        found = self._post("v1/completions", body)
        try:
            choice = found["choices"][0]
            tokens = tuple(int(token) for token in choice["token_ids"])
            logps = tuple(float(value) for value in choice["logprobs"]["token_logprobs"])
        except (KeyError, IndexError, TypeError):
            raise RunError(
                f"{self._url} answered without token_ids and logprobs; it must be vLLM 0.10.2 or "
                "later."
            ) from None
        if len(logps) != len(tokens):
            raise RunError(f"{self._url} gave {len(logps)} probabilities of {len(tokens)} tokens.")
        ended = bool(tokens) and tokens[-1] in self.policy.stops
        text = self.policy.tokenizer.decode(list(tokens[:-1] if ended else tokens))
        return Reply(tokens, logps, ended, text)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return post(
            f"{self._url}/{path}", body, key=os.environ.get("OPENAI_API_KEY", ""),
            timeout_s=self.settings.timeout_s, tries=_TRIES, pause_s=1.0,
        )  # fmt: skip
