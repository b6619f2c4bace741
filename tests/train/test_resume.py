"""Runs that are killed, damaged or changed: bit-for-bit continuation, or a clear refusal with nothing lost."""

from __future__ import annotations

import io
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from lindos.model.formats import load_model
from lindos.specs import SpecError
from lindos.train import CheckpointError, Journal, RunFile, Trainer, TrainingError
from lindos.train.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint, whole_parts
from tests.train.conftest import write_data, write_run, write_talk
from tests.train.forked import forked


def losses(folder: Path) -> list[tuple]:
    """(step, loss, norm) in the order of the journal: a step that stands there twice is seen."""
    lines = Journal.read(folder / "metrics.jsonl")
    return [(line["step"], line["loss"], line["norm"]) for line in lines if line["kind"] == "step"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint, _ = newest_checkpoint(folder / "checkpoints")
    assert checkpoint is not None
    return saved_tensors(checkpoint)


def saved_tensors(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Everything a checkpoint holds, whole."""
    tensors = {name: torch.empty(shape) for name, shape in checkpoint.shapes().items()}
    checkpoint.restore(whole_parts(tensors.items()))
    return tensors


def command(run: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "lindos", "train", str(run), "--out", str(out), *more]


def go(run: Path, out: Path, *more: str) -> str:
    """The command to its good end; what it said."""
    done = forked(["lindos", "train", str(run), "--out", str(out), *more])
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def undisturbed(run_table, tmp_path):
    run = RunFile.parse(run_table)
    folder = tmp_path / "undisturbed"
    Trainer(run, folder).train()
    return folder


def test_a_run_learns_and_keeps_a_journal(undisturbed):
    lines = Journal.read(undisturbed / "metrics.jsonl")
    steps = [line for line in lines if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(12))
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.3
    assert steps[-1]["tokens"] == 12 * 4 * 64
    assert 1.0 <= steps[-1]["balance"] <= 2.0  # 4 experts, 2 chosen: 2 is the worst there is
    kinds = {line["kind"] for line in lines}
    assert kinds >= {"leg", "step", "evaluation", "sample", "end"}
    assert len(list((undisturbed / "checkpoints").glob("step-*"))) == 2


@pytest.mark.parametrize(("precision", "talk"), [("bf16", False), ("fp32", False), ("fp32", True)])
def test_legs_continue_bit_for_bit(run_table, tmp_path, tiny_tokenizer_dir, precision, talk):
    run_table["machine"]["precision"] = precision
    if talk:  # conversations: packed, masked, hidden from each other
        run_table["data"] |= {"separate": True, "path": str(write_talk(tmp_path / "talk", tiny_tokenizer_dir))}
    run = RunFile.parse(run_table)
    Trainer(run, tmp_path / "whole").train()
    for leg in range(4):
        Trainer(run, tmp_path / "legs", resume=True).train(steps=3)
        assert len(losses(tmp_path / "legs")) == 3 * (leg + 1)
    assert losses(tmp_path / "legs") == losses(tmp_path / "whole")
    whole, legs = weights(tmp_path / "whole"), weights(tmp_path / "legs")
    assert all(torch.equal(whole[name], legs[name]) for name in whole)


def _killed_run(run_file: Path, out: Path, kills: int, seed: int, steps: int = 12) -> None:
    """Start the real command, kill it without warning at random moments of its `steps`, finish it undisturbed."""
    chance = random.Random(seed)
    for kill in range(kills):
        reached = len(losses(out)) if (out / "metrics.jsonl").exists() else 0
        process = subprocess.Popen(command(run_file, out, "--resume"), stdout=subprocess.DEVNULL)
        # Wait until it has done something, then a random while longer: mid-step, mid-write, anywhere.
        target = min(reached + chance.randint(1, 3), steps - (kills - kill))
        while process.poll() is None and (not (out / "metrics.jsonl").exists() or len(losses(out)) < target):
            time.sleep(0.01)
        time.sleep(chance.random() * 0.2)
        assert process.poll() is None or len(losses(out)) == steps, "it ended by itself too early"
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    go(run_file, out, "--resume")


def test_every_leg_leaves_its_own_weights_as_a_model(run_table, tmp_path):
    run_table["machine"]["precision"] = "bf16"
    out, run_file = tmp_path / "out", write_run(tmp_path / "run.json", run_table)
    for steps in (4, 8):
        go(run_file, out, "--resume", "--steps", "4")
        exported = load_model(out / "model", dtype=torch.float32)
        checkpoint, _ = newest_checkpoint(out / "checkpoints")
        assert checkpoint is not None
        assert checkpoint.step == steps
        saved = saved_tensors(checkpoint)["master.embedding"]
        assert torch.equal(exported.embedding.detach(), saved.bfloat16().float())


def test_killed_at_any_moment_the_losses_continue_bit_for_bit(run_table, tmp_path, undisturbed):
    run_table["checkpoint"]["every"] = 2
    run_file = write_run(tmp_path / "run.json", run_table)
    _killed_run(run_file, tmp_path / "killed", kills=2, seed=1)
    assert losses(tmp_path / "killed") == losses(undisturbed)
    whole, killed = weights(undisturbed), weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_again_and_again(run_table, tmp_path):
    run_table["checkpoint"]["every"] = 1
    run_table["schedule"]["steps"] = 120
    run_file = write_run(tmp_path / "run.json", run_table)
    go(run_file, tmp_path / "whole")
    _killed_run(run_file, tmp_path / "killed", kills=15, seed=2, steps=120)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_a_stop_signal_ends_with_a_checkpoint(run_table, tmp_path):
    run_table["schedule"]["steps"] = 100_000
    run_table["checkpoint"]["every"] = 100_000
    out = tmp_path / "out"
    process = subprocess.Popen(command(write_run(tmp_path / "run.json", run_table), out), stdout=subprocess.DEVNULL)
    while not (out / "metrics.jsonl").exists() or len(losses(out)) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    checkpoint, _ = newest_checkpoint(out / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.step == len(losses(out))
    assert (out / "model" / "config.json").exists()


def test_a_damaged_checkpoint_is_passed_over(run_table, tmp_path, undisturbed):
    folder = undisturbed / "checkpoints"
    newest = sorted(folder.glob("step-*"))[-1]
    state = newest / "rank-00000.safetensors"
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(data)
    before = losses(undisturbed)
    trainer = Trainer(RunFile.parse(run_table), undisturbed, resume=True)
    assert trainer.step == 8
    assert [path.name for path in folder.glob("damaged-*")] == [f"damaged-{newest.name}-1"]
    trainer.train()
    assert losses(undisturbed) == before
    for path in folder.glob("step-*"):
        (path / "rank-00000.safetensors").write_bytes(b"")
    with pytest.raises(TrainingError, match="no checkpoint is whole"):
        Trainer(RunFile.parse(run_table), undisturbed, resume=True)


def test_a_file_that_cannot_be_read_is_no_damage(run_table, undisturbed):
    newest = sorted((undisturbed / "checkpoints").glob("step-*"))[-1]
    state = newest / "rank-00000.safetensors"
    state.rename(state.with_suffix(".aside"))
    state.mkdir()  # reading it fails, as a disk that is gone does
    with pytest.raises(OSError, match=r"Is a directory"):
        Trainer(RunFile.parse(run_table), undisturbed, resume=True)
    state.rmdir()
    state.with_suffix(".aside").rename(state)
    assert Trainer(RunFile.parse(run_table), undisturbed, resume=True).step == 12


@pytest.mark.parametrize(
    "meta", ["", "[]", "3", "{}", '{"format": "x"}', '{"format": "lindos-checkpoint-2"}',
             '{"format": "lindos-checkpoint-2", "files": 3}', '{"format": "lindos-checkpoint-2", "files": ["a"]}',
             '{"format": "lindos-checkpoint-2", "files": {}, "step": "x"}'],
)  # fmt: skip
def test_a_mangled_description_is_damage(run_table, undisturbed, meta):
    newest = sorted((undisturbed / "checkpoints").glob("step-*"))[-1]
    (newest / "meta.json").write_text(meta)
    assert Trainer(RunFile.parse(run_table), undisturbed, resume=True).step == 8


def test_a_started_run_is_not_overwritten(run_table, undisturbed):
    with pytest.raises(TrainingError, match="continue it with --resume"):
        Trainer(RunFile.parse(run_table), undisturbed)


def test_a_changed_run_is_refused_but_a_longer_one_is_not(run_table, undisturbed):
    run_table["schedule"]["steps"] = 14
    assert Trainer(RunFile.parse(run_table), undisturbed, resume=True).train() == 14
    run_table["optimizer"]["clip"] = 2.0
    with pytest.raises(SpecError, match=r"optimizer\.clip: the run began with 1\.0"):
        Trainer(RunFile.parse(run_table), undisturbed, resume=True)


def test_learning_rates_may_change_between_legs(run_table, tmp_path):
    Trainer(RunFile.parse(run_table), tmp_path).train(steps=4)
    run_table["optimizer"] |= {"lr": 1e-3, "matrix_lr": 0.01}
    assert Trainer(RunFile.parse(run_table), tmp_path, resume=True).train() == 12
    run_table["optimizer"]["momentum"] = 0.5
    with pytest.raises(SpecError, match=r"optimizer\.momentum: the run began with 0\.95"):
        Trainer(RunFile.parse(run_table), tmp_path, resume=True)


def test_a_step_without_a_finite_gradient_changes_nothing(run_table, tmp_path):
    run_table["checkpoint"]["every"] = 1
    trainer = Trainer(RunFile.parse(run_table), tmp_path)
    trainer.train(steps=2)
    before = {name: part.values.clone() for name, part in trainer.optimizer.parts().items()}
    healthy = trainer.model.final_norm.detach().clone()
    with torch.no_grad():
        trainer.model.final_norm.fill_(float("inf"))
    trainer.train(steps=1)
    assert trainer.step == 3
    assert all(torch.equal(part.values, before[name]) for name, part in trainer.optimizer.parts().items())
    [skip] = [line for line in Journal.read(tmp_path / "metrics.jsonl") if line["kind"] == "skip"]
    assert skip["step"] == 2
    assert "final_norm" in skip["tensors"]
    with torch.no_grad():
        trainer.model.final_norm.copy_(healthy)
    trainer.train(steps=1)
    assert [line[0] for line in losses(tmp_path)] == [0, 1, 3]


def test_five_steps_in_a_row_without_one_end_the_run_however_it_is_interrupted(run_table, tmp_path):
    run_table["checkpoint"]["every"] = 1
    run = RunFile.parse(run_table)
    for leg in (3, 9):
        trainer = Trainer(run, tmp_path, resume=leg > 3)
        with torch.no_grad():
            trainer.model.final_norm.fill_(float("inf"))
        if leg == 3:
            assert trainer.train(steps=leg) == 3
        else:
            with pytest.raises(TrainingError, match=r"lower optimizer\.lr"):
                trainer.train(steps=leg)
    assert trainer.step == 5


def test_a_run_exports_what_it_was_told_to_be(run_table, tmp_path):
    """A chat run that starts from a base model makes a chat model."""
    spec = Path(run_table["model"])
    table = json.loads(spec.read_text())
    spec.write_text(json.dumps({**table, "kind": "base", "name": "reader"}))
    Trainer(RunFile.parse(run_table), tmp_path / "base").export(tmp_path / "base" / "model")
    spec.write_text(json.dumps({**table, "kind": "chat", "name": "talker"}))
    run = RunFile.parse({**run_table, "start": str(tmp_path / "base" / "model")})
    trainer = Trainer(run, tmp_path / "chat")
    trainer.train(steps=1)
    trainer.export(tmp_path / "chat" / "model")
    made = json.loads((tmp_path / "chat" / "model" / "config.json").read_text())["spec"]
    assert (made["kind"], made["name"]) == ("chat", "talker")


def test_a_start_cannot_be_added_to_a_begun_run(run_table, tmp_path, tiny_model_dir):
    run = RunFile.parse(run_table)
    Trainer(run, tmp_path / "it").train(steps=4)
    Trainer(run, tmp_path / "other").export(tmp_path / "other" / "model")
    started = RunFile.parse({**run_table, "start": str(tmp_path / "other" / "model")})
    with pytest.raises(SpecError, match="start: the run began with ''"):
        Trainer(started, tmp_path / "it", resume=True)


def test_the_line_that_says_how_to_go_on_goes_on(run_table, tmp_path):
    run_file, out = write_run(tmp_path / "run.json", run_table), tmp_path / "a place"
    told = " ".join(go(run_file, out, "--steps", "2").split()).split("continue with: ")[1]
    again = [sys.executable, "-m", *shlex.split(told)]
    subprocess.run([*again, "--steps", "2"], check=True, stdout=subprocess.DEVNULL)
    assert [line[0] for line in losses(out)] == [0, 1, 2, 3]


def test_other_data_is_refused(run_table, undisturbed, tmp_path, tiny_tokenizer_dir):
    run_table["data"]["path"] = str(write_data(tmp_path / "other", tiny_tokenizer_dir, seed=9))
    with pytest.raises(SpecError, match="fingerprint"):
        Trainer(RunFile.parse(run_table), undisturbed, resume=True)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    save_checkpoint(tmp_path, 1, whole_parts([("master.a", torch.zeros(2, 3))]), {})
    checkpoint, _ = newest_checkpoint(tmp_path)
    assert checkpoint is not None
    with pytest.raises(CheckpointError, match=r"master\.a has shape \[2, 3\], the model wants \[3, 2\]"):
        checkpoint.restore(whole_parts([("master.a", torch.zeros(3, 2))]))
    with pytest.raises(CheckpointError, match=r"master\.b is missing from it"):
        checkpoint.restore(whole_parts([("master.a", torch.zeros(2, 3)), ("master.b", torch.zeros(1))]))
    with pytest.raises(CheckpointError, match=r"master\.a is only in the checkpoint"):
        checkpoint.check_names([])


def test_a_full_disk_leaves_older_checkpoints(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, whole_parts([("a", torch.zeros(4))]), {})
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="older ones are untouched"):
            save_checkpoint(tmp_path, 2, whole_parts([("a", torch.zeros(1 << 16))]), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    checkpoint, passed = newest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert (checkpoint.step, passed) == (1, [])


def test_a_checkpoint_from_before_a_field_existed_is_continued(run_table, tmp_path):
    run = RunFile.parse(run_table)
    Trainer(run, tmp_path).train(steps=4)
    checkpoint, _ = newest_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    meta = json.loads((checkpoint.path / "meta.json").read_text())
    del meta["run"]["data"]["separate"], meta["run"]["router"]
    (checkpoint.path / "meta.json").write_text(json.dumps(meta))
    assert Trainer(run, tmp_path, resume=True).step == 4


def test_killed_before_the_first_checkpoint_nothing_stands_twice_in_the_journal(run_table, tmp_path, undisturbed):
    run = RunFile.parse(run_table)
    trainer = Trainer(run, tmp_path / "it")
    for _ in range(3):
        trainer._one_step()  # as if killed now: nothing saved
    with (tmp_path / "it" / "metrics.jsonl").open("a") as journal:
        journal.write('{"kind": "step", "st')
    Trainer(run, tmp_path / "it", resume=True).train()
    assert losses(tmp_path / "it") == losses(undisturbed)


def test_another_network_under_the_same_name_is_refused(run_table, tmp_path):
    Trainer(RunFile.parse(run_table), tmp_path / "it").train(steps=4)
    table = json.loads(Path(run_table["model"]).read_text())
    Path(run_table["model"]).write_text(json.dumps({**table, "attention_softcap": 20.0, "title": "the same"}))
    with pytest.raises(SpecError, match=r"attention_softcap: the run began with 30\.0, now it is 20\.0"):
        Trainer(RunFile.parse(run_table), tmp_path / "it", resume=True)
    Path(run_table["model"]).write_text(json.dumps({**table, "title": "the same"}))
    assert Trainer(RunFile.parse(run_table), tmp_path / "it", resume=True).step == 4


def test_a_run_that_started_from_other_weights_is_refused_or_put_aside(run_table, tmp_path):
    for seed, name in ((1, "one"), (2, "two")):
        Trainer(RunFile.parse({**run_table, "seed": seed}), tmp_path / name).export(tmp_path / name / "model")
    start = tmp_path / "start"
    shutil.copytree(tmp_path / "one" / "model", start)
    run = RunFile.parse({**run_table, "start": str(start)})
    Trainer(run, tmp_path / "it").train(steps=4)
    shutil.move(start, tmp_path / "elsewhere")
    moved = RunFile.parse({**run_table, "start": str(tmp_path / "elsewhere")})
    assert Trainer(moved, tmp_path / "it", resume=True).step == 4  # the same weights in another place
    shutil.copytree(tmp_path / "two" / "model", start)
    with pytest.raises(SpecError, match="holds other weights than those the run began with"):
        Trainer(run, tmp_path / "it", resume=True)
    anew = Trainer(run, tmp_path / "it", resume=True, renew=True)
    assert anew.step == 0
    assert torch.equal(anew.model.embedding, load_model(start, dtype=anew.model.embedding.dtype).embedding)
    kept, _ = newest_checkpoint(tmp_path / "it.before-1" / "checkpoints")
    assert kept is not None
    assert kept.step == 4


def test_a_start_of_another_shape_or_tokenizer_is_refused(run_table, tmp_path, tiny_model_dir):
    folder = tmp_path / "start"
    shutil.copytree(tiny_model_dir, folder)
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + "\n")
    with pytest.raises(SpecError, match="reads with another tokenizer"):
        Trainer(RunFile.parse({**run_table, "start": str(folder)}), tmp_path / "it")
    table = json.loads(Path(run_table["model"]).read_text())
    Path(run_table["model"]).write_text(json.dumps({**table, "rope_base": 5000.0}))
    with pytest.raises(SpecError, match="rope_base"):
        Trainer(RunFile.parse({**run_table, "start": str(tiny_model_dir)}), tmp_path / "it")


def test_data_without_held_out_text_are_trained_on_without_evaluations(run_table, tmp_path, tiny_tokenizer_dir):
    write_data(tmp_path / "data", tiny_tokenizer_dir, heldout=0)
    run_table["data"]["path"] = str(tmp_path / "data")
    Trainer(RunFile.parse(run_table), tmp_path / "it").train()
    kinds = {line["kind"] for line in Journal.read(tmp_path / "it" / "metrics.jsonl")}
    assert "step" in kinds
    assert "evaluation" not in kinds


def test_what_a_model_writes_is_never_taken_for_markup(run_table, tmp_path, monkeypatch):
    monkeypatch.setattr("lindos.train.loop.sample_text", lambda *_, **__: "so [/b] it [sic] goes")
    told = io.StringIO()
    Trainer(RunFile.parse(run_table), tmp_path, console=Console(file=told, width=200)).train(steps=6)
    assert "so [/b] it [sic] goes" in told.getvalue()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about its own tracing
def test_killed_as_pebble_is_trained_the_losses_continue_bit_for_bit(run_table, tmp_path, tiny_tokenizer_dir):
    """Compiled chains, two threads, packed conversations kept apart, masks of every size."""
    run_table["machine"] = {"threads": 2, "compile": True}
    run_table["data"] |= {"separate": True, "path": str(write_talk(tmp_path / "talk", tiny_tokenizer_dir))}
    run_table["checkpoint"]["every"] = 2
    run_table["schedule"]["steps"] = 40
    run_file = write_run(tmp_path / "run.json", run_table)
    go(run_file, tmp_path / "whole")
    _killed_run(run_file, tmp_path / "killed", kills=3, seed=5, steps=40)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
