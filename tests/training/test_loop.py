"""Training of all classes: resume after a kill with the same bits, plan, log, budgets, no side effects."""

from __future__ import annotations

import json
import logging
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.training import class_tables
from gencls.training.examples import TokenizedSplit
from gencls.training.loop import _Deadline, last_complete_checkpoint, steps_within
from gencls.training.plan import FOLDS, collator

# One process imports the libraries and forks a child for each training, before it has started any thread of torch.
DRIVER = """
import json, os, pickle, signal, sys, traceback
from pathlib import Path
import torch
from safetensors.torch import save_file
from gencls.diffusion.backbones import load_backbone
from gencls.training.per_class import train_denoiser

torch.set_num_threads(1)

def train(folder, parts, config, kill_at):
    steps = []
    def on_step(step):
        steps.append(step)
        if len(steps) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
    result = train_denoiser(load_backbone("tiny-random"), *parts, ["left", "right"], config, folder, on_step=on_step)
    state = {name: value.clone() for name, value in result.denoiser.state_dict().items()}
    save_file(state, folder / "weights.safetensors")
    (folder / "steps.json").write_text(json.dumps(steps))
    (folder / "record.json").write_text(json.dumps(result.record))

def child(*arguments):
    pid = os.fork()
    if pid == 0:
        try:
            train(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

parts, configs = pickle.load(sys.stdin.buffer)
root, ends = Path(sys.argv[1]), {}
for name, config in configs.items():
    killed = root / name / "killed"
    ends[name] = [child(root / name / "whole", parts, config, 0)]
    # at step 3 of the adaptation; in the second life (adaptation 3, 4, 5) at step 3 of the classes
    ends[name] += [child(killed, parts, config, kill_at) for kill_at in (3, 6, 0)]
print(json.dumps(ends))
"""
VARIANTS = {
    "conditional": {"hybrid_weight": 0.2},
    "independent": {},
}


@pytest.fixture(scope="module")
def lives(tmp_path_factory, split, tiny_config):
    """Undisturbed and twice killed trainings of three modes: their folders and exit statuses."""
    import pickle

    folder = tmp_path_factory.mktemp("lives")
    configs = {
        mode: tiny_config(mode=mode, adapt_steps=5, class_steps=5, **options) for mode, options in VARIANTS.items()
    }
    for mode in configs:
        (folder / mode).mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(folder)],
        input=pickle.dumps(((split(), split(20, seed=1)), configs)),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return folder, json.loads(done.stdout), done.stderr.decode()


@pytest.mark.parametrize("mode", VARIANTS)
def test_killed_in_each_stage_and_resumed_ends_bit_identical(lives, mode):
    folder, ends, errors = lives
    assert ends[mode] == [0, -9, -9, 0], errors
    whole, killed = (load_file(folder / mode / name / "weights.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert json.loads((folder / mode / "killed" / "steps.json").read_text()) == [3, 4, 5]  # of the classes only
    assert json.loads((folder / mode / "whole" / "steps.json").read_text()) == [1, 2, 3, 4, 5] * 2


@pytest.mark.parametrize("mode", VARIANTS)
def test_record_of_a_resumed_run(lives, mode):
    folder, _, _ = lives
    whole, killed = (json.loads((folder / mode / name / "record.json").read_text()) for name in ("whole", "killed"))
    for name in ("plan", "class_budget", "smoothing", "head_gain_nats", "bf16", "parameters"):
        assert killed[name] == whole[name], name
    assert whole["adapt"]["steps"] == killed["adapt"]["steps"] == 5
    assert killed["adapt"]["loss"] == whole["adapt"]["loss"] or killed["adapt"]["loss"] > 1.0


def test_training_moves_what_its_stage_says(lives):
    """In `independent` mode the classes start from the adapted network and leave it alone."""
    folder, _, _ = lives
    state = load_file(folder / "independent" / "whole" / "weights.safetensors")
    name = next(name for name in state if name.startswith("network.encoder.") and name.endswith("query.weight"))
    copies = [state[name.replace("network.encoder.", f"network.encoders.{index}.")] for index in (0, 1)]
    assert not torch.equal(copies[0], copies[1])
    assert not torch.equal(copies[0], state[name])


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train):
    folder = tmp_path_factory.mktemp("trained")
    return folder, train(folder)


def test_budgets_are_equal_and_recorded(trained):
    _, result = trained
    assert result.record["class_budget"]["texts"] == [11, 11]  # one of 12 visits is without its class
    assert result.record["plan"]["adapt_steps"] == result.record["plan"]["class_steps"] == 3
    assert result.record["adapt"]["steps"] == result.record["classes"]["steps"] == 3
    assert not result.denoiser.training
    json.dumps(result.record)


def test_classes_of_unequal_size_get_equal_budgets(tmp_path, train, split):
    whole = split(40)
    rows = [*np.flatnonzero(whole.labels == 0)[:3], *np.flatnonzero(whole.labels == 1)]
    few = TokenizedSplit([whole.token_ids[row] for row in rows], whole.labels[rows])
    assert train(tmp_path, data=few, adapt_steps=0).record["class_budget"]["texts"] == [
        11,
        11,
    ]  # one of 12 visits is without its class


def test_log_has_the_loss_by_level_of_both_stages(trained):
    folder, _ = trained
    lines = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    for stage in ("adapt", "classes"):
        levels = [key for line in lines if line["stage"] == stage for key in line if key.startswith("loss_level_")]
        assert len(set(levels)) > 3
        assert all(0 < line[key] < 20 for line in lines for key in line if key.startswith("loss_level_"))


def test_second_call_finds_the_training_finished(trained, train, same):
    folder, first = trained
    steps = []
    again = train(folder, call={"on_step": steps.append})
    assert steps == []
    assert same(first, again)


@pytest.mark.parametrize("change", [{"seed": 1}, {"learning_rate": 1e-2}, {"data": True}])
def test_a_folder_of_another_training_is_refused(trained, train, split, change):
    """Else its checkpoints would be loaded without a word: in a grid search with one folder, from another fold."""
    if "data" in change:
        change = {"data": split(40, seed=5)}
    with pytest.raises(ValueError, match=r"Expected .*; got checkpoints of another training .*\. Give"):
        train(trained[0], **change)


def test_other_validation_texts_are_refused(trained, train, split):
    """They choose the smoothing: the checkpoints would have that of the old ones, and the record that of the new."""
    folder, result = trained
    assert train(folder, held=split(20, seed=1)).record["smoothing"] == result.record["smoothing"]
    whole = split(20, seed=1)
    for held in (split(20, seed=2), TokenizedSplit(whole.token_ids, 1 - whole.labels)):
        with pytest.raises(ValueError, match=r"Expected .*; got .* other validation texts in .*\. Give"):
            train(folder, held=held)


@pytest.mark.parametrize("name", ["smoothing", "folds"])
def test_a_run_of_a_version_that_made_the_class_tables_otherwise_is_refused(tmp_path, trained, train, name):
    """Its later steps would be trained with other tables than its first ones."""
    shutil.copytree(trained[0], tmp_path / "run")
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert plan.pop(name) == {"smoothing": trained[1].record["smoothing"], "folds": FOLDS}[name]
    (tmp_path / "run" / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(ValueError, match=r"Expected .*; got .* older version.* in run\. Give"):
        train(tmp_path / "run")


def test_a_resumed_run_keeps_its_smoothing(tmp_path, trained, train, monkeypatch):
    shutil.copytree(trained[0], tmp_path / "run")
    monkeypatch.setattr(class_tables, "fit_statistics", None)
    again = train(tmp_path / "run")
    assert again.record["smoothing"] == trained[1].record["smoothing"]
    torch.testing.assert_close(again.denoiser.state_dict(), trained[1].denoiser.state_dict(), rtol=0, atol=0)


def test_scoring_options_may_change_between_lives(trained, train):
    assert train(trained[0], n_steps=5, n_mc_samples=1, checkpoint_steps=1).record["plan"]


def test_plan_is_read_back(tmp_path, train, caplog):
    first = train(tmp_path, call={"time_budget": 1e-9}).record
    assert first["plan"]["adapt_steps"] == first["plan"]["class_steps"] == 1
    assert first["class_budget"]["texts"] == [4, 4]
    train(tmp_path, call={"time_budget": 1e-9})
    assert "planned for" not in caplog.text
    again = train(tmp_path, call={"time_budget": 60.0}).record
    assert "a time budget of 1e-09 minutes, which is kept; 60.0 is not used" in caplog.text
    assert again["plan"] == first["plan"]
    assert again["classes"]["steps"] == 1


@pytest.mark.parametrize(("before", "is_ended"), [(0.0, False), (59.0, False), (61.0, True)])
def test_a_resumed_stage_has_what_its_earlier_lives_left_of_the_budget(before, is_ended):
    deadline, state, control = _Deadline(60.0, before), TrainerState(), TrainerControl()
    deadline.on_train_begin(None, state, control)
    deadline.on_step_end(None, state, control)
    assert control.should_training_stop is is_ended
    assert control.should_save is is_ended


def test_a_stage_that_the_clock_ended_is_not_gone_on_with(tmp_path, train, same):
    """The plan said three steps, the machine was slower: the resume must not add the missing ones."""
    plan = {"adapt_steps": 3, "class_steps": 3, "time_budget": 1e-9}
    plan |= {"smoothing": {"unigram": 1.0, "discount": None, "pair": None, "triple": None}, "folds": FOLDS}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    first, steps = train(tmp_path), []
    again = train(tmp_path, call={"on_step": steps.append})
    assert first.record["adapt"]["steps"] == again.record["classes"]["steps"] == 1
    assert steps == []
    assert same(first, again)


def test_precision_is_not_measured_again_by_the_process_that_resumes(tmp_path, train, monkeypatch):
    for measured in ("bfloat16", "float32"):
        monkeypatch.setattr("gencls.training.plan.resolve_precision", lambda *options, answer=measured: answer)
        assert train(tmp_path, precision="auto", adapt_steps=1, class_steps=1).record["bf16"] is True


def test_incomplete_checkpoint_is_ignored(tmp_path, caplog):
    for step, is_complete in ((2, True), (4, True), (6, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "model.safetensors").write_bytes(b"cut off")
        if is_complete:
            (tmp_path / f"checkpoint-{step}" / "complete.json").write_text("{}")
    with caplog.at_level(logging.WARNING, logger="gencls.training"):
        assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")
    assert "checkpoint-6 is incomplete" in caplog.text
    assert not (tmp_path / "checkpoint-6").exists()
    assert last_complete_checkpoint(tmp_path / "none") is None


def test_training_goes_on_from_the_last_complete_checkpoint(tmp_path, trained, train, same):
    """As a kill while the last checkpoint was written leaves the folder."""
    folder, first = trained
    shutil.copytree(folder, tmp_path / "run")
    stage = tmp_path / "run" / "checkpoints" / "classes"
    (stage / "checkpoint-3" / "complete.json").unlink()
    (stage / "finished.json").unlink()
    steps = []
    again = train(tmp_path / "run", call={"on_step": steps.append})
    assert steps == [3]
    assert same(first, again)


def test_trial_steps_change_nothing(split, tiny_config):
    from gencls.training.examples import ScheduledExamples, TrainingTexts

    data = split(16)
    texts = TrainingTexts(data.token_ids, data.labels, np.zeros(16, dtype=int), 2)
    examples = ScheduledExamples(texts, np.arange(16), class_dropout=0.0, seed=0)
    denoiser = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig("conditional", rank=2))
    before = {name: value.clone() for name, value in denoiser.state_dict().items()}
    options = {"batch_size": 4, "bf16": False, "hybrid_weight": 0.0}
    rows = collator(denoiser, 0.1, tiny_config())
    assert steps_within(1e-9, denoiser, examples, rows, **options) == 1
    assert steps_within(600.0, denoiser, examples, rows, **options) > 10
    assert all(torch.equal(value, before[name]) for name, value in denoiser.state_dict().items())
    assert all(value.grad is None for value in denoiser.parameters())


def test_no_steps_is_naive_bayes_and_pairs(tmp_path, train):
    record = train(tmp_path, adapt_steps=0, class_steps=0, pair_smoothing=()).record
    assert record["adapt"]["steps"] == record["classes"]["steps"] == 0
    assert record["smoothing"]["pair"] is None


def test_training_prints_nothing_and_leaves_the_random_states(tmp_path, train, capsys):
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    train(tmp_path, adapt_steps=1, class_steps=1)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert capsys.readouterr().out == ""


def test_a_class_without_tokens_and_no_validation_are_refused_early(tmp_path, train, split, tiny_config):
    from gencls.training.per_class import train_denoiser

    data = split(8)
    empty = TokenizedSplit(
        [ids[: 0 if label else None] for ids, label in zip(*vars(data).values(), strict=True)], data.labels
    )
    with pytest.raises(ValueError, match="in every class"):
        train(tmp_path, data=empty)
    nothing = TokenizedSplit([], np.array([], dtype=np.int64))
    with pytest.raises(ValueError, match="validation texts"):
        train_denoiser(load_backbone("tiny-random"), data, nothing, ["left", "right"], tiny_config(), tmp_path)
    assert not (tmp_path / "plan.json").exists()


def test_an_empty_text_among_others_is_left_out(tmp_path, train, split):
    data = split(16)
    with_empty = TokenizedSplit([data.token_ids[0][:0], *data.token_ids], np.append(0, data.labels))
    assert train(tmp_path, data=with_empty, adapt_steps=1, class_steps=1).record["classes"]["steps"] == 1
