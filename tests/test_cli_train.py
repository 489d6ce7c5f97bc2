"""`triton-gym train` and `triton-gym score`, as a user types them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from triton_gym.cli import app
from triton_gym.errors import InvalidOptionError

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")


def invoke(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=True)


def test_train_sft_and_go_on(tmp_path):
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    (tmp_path / "train.jsonl").write_text((json.dumps({"messages": messages}) + "\n") * 40)
    config = tmp_path / "sft.toml"
    config.write_text(
        "[examples]\nlength = 64\nbatch_tokens = 128\n"
        f'train = "{tmp_path}/train.jsonl"\n[run]\nout = "{tmp_path}/run"\nsteps = 2\n'
    )
    policy = ("--policy", "tiny-random")
    done = invoke("train", "sft", "--config", config, *policy)
    assert done.exit_code == 0, done.output
    assert "step-000002" in done.output.replace("\n", "")
    further = invoke("train", "sft", "--config", config, *policy, "run.steps=3")
    assert "going on after step 2" in further.output
    assert (tmp_path / "run" / "checkpoints" / "step-000003" / "config.json").is_file()


def test_mistakes_are_named():
    with pytest.raises(InvalidOptionError, match=r"Did you mean 'rollout\.groups'"):
        raise invoke("train", "grpo", "rollout.grups=1").exception
    with pytest.raises(InvalidOptionError, match="Cannot read the config"):
        raise invoke("train", "sft", "--config", "not-here.toml").exception
    with pytest.raises(InvalidOptionError, match="graphs"):
        raise invoke("train", "data", "graphs=0", "test_graphs=0").exception


@pytest.mark.usefixtures("opened")
def test_score_writes_a_table_and_json(tmp_path):
    out = tmp_path / "scores.json"
    done = invoke(
        "score", "tiny-random", "gelu", "--tries", 2, "--longest", 4, "--device", "simulated",
        "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "gelu" in done.output
    found = json.loads(out.read_text())
    assert found["total"]["tries"] == 2
    assert found["total"]["correct@1"] == {"value": 0.0, "low": None, "high": None}
    assert found["tasks"]["gelu"]["correct@2"] == 0.0
    kept = (tmp_path / "scores.replies.jsonl").read_text().splitlines()
    assert len(kept) == 5  # what is scored, two replies, what became of each
    again = invoke(
        "score", "tiny-random", "gelu", "--tries", 2, "--longest", 4, "--device", "simulated",
        "--out", out,
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    assert json.loads(out.read_text()) == found
    assert (tmp_path / "scores.replies.jsonl").read_text().splitlines() == kept
    with pytest.raises(InvalidOptionError, match="tries was 2, now 3"):
        raise invoke("score", "tiny-random", "gelu", "--tries", 3, "--longest", 4, "--device",
                     "simulated", "--out", out).exception  # fmt: skip


@pytest.mark.usefixtures("opened")
def test_score_makes_nothing_where_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for more, told in (
        (["--out", tmp_path], "is a folder"), (["--out", "file/scores.json"], "no folder"),
        (["--reward", "kevni"], "kevin"), (["--env-arg", "color=red"], "color"),
    ):  # fmt: skip
        with pytest.raises(InvalidOptionError, match=told):
            raise invoke("score", "tiny-random", "gelu", "--longest", 4, "--device", "simulated",
                         *more).exception  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
