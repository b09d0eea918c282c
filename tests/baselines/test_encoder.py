"""The encoder baseline on tiny BERT models from scratch: no downloads."""

from __future__ import annotations

import pickle
import random
import time
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
import torch
from filelock import FileLock
from sklearn.base import clone
from transformers import BertConfig, BertModel

from gencls.baselines.checkpoints import COMPLETE
from gencls.baselines.encoder import EncoderClassifier, MeanPooledClassifier
from gencls.baselines.finetuning import Budget, BudgetCallback
from gencls.data.lengths import groups_of

CLS, SEP, PAD, VOCAB = 1, 2, 0, 20


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=VOCAB,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
        )
        return BertModel(config)


def make(encoder, **changes):
    settings = {"budget": Budget(max_epochs=12), "learning_rate": 3e-3, "batch_size": 16, "progress": False}
    return EncoderClassifier(encoder, cls_id=CLS, sep_id=SEP, pad_id=PAD, **{**settings, **changes})


def toy(n: int = 96):
    """Texts of 3 to 10 tokens whose class is whether token 5 or token 6 occurs in them."""
    generator = np.random.default_rng(0)
    y = np.arange(n) % 2
    texts = [generator.integers(7, VOCAB, size=generator.integers(3, 11)) for _ in range(n)]
    for text, label in zip(texts, y, strict=True):
        text[generator.integers(len(text))] = 5 + label
    return texts, y


@pytest.fixture(scope="module")
def fitted(encoder):
    return make(encoder).fit(*toy())


def test_learns_a_toy_language(fitted):
    texts, y = toy()
    assert fitted.score(texts, y) > 0.95
    np.testing.assert_allclose(fitted.predict_proba(texts).sum(axis=1), 1.0)


def test_scores_do_not_depend_on_batch_order_or_padding(fitted):
    texts, _ = toy()
    together = fitted.predict_log_proba(texts, batch_size=96)
    alone = fitted.predict_log_proba(texts[::-1], batch_size=1)[::-1]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_a_killed_fit_goes_on_to_the_same_bits_and_a_finished_one_is_read(encoder, tmp_path):
    texts, y = toy()
    settings = {"budget": Budget(max_steps=8), "save_steps": 3}
    at_once = make(encoder, **settings).fit(texts, y)

    class Killed(EncoderClassifier):
        def _collate(self, examples):
            if (tmp_path / "checkpoint-6" / COMPLETE).exists():
                raise KeyboardInterrupt
            return super()._collate(examples)

    first = Killed(**{**make(encoder, **settings).get_params(deep=False), "checkpoints": tmp_path})
    with pytest.raises(KeyboardInterrupt):
        first.fit(texts, y)
    resumed, read = (make(encoder, **settings, checkpoints=tmp_path).fit(texts, y) for _ in range(2))
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-8"]
    (tmp_path / "checkpoint-9").mkdir()
    (tmp_path / "checkpoint-9" / COMPLETE).write_text("{}")  # without its weights: another process removed them
    again = make(encoder, **settings, checkpoints=tmp_path).fit(texts, y)
    for model in (resumed, read, again):
        assert (model.n_steps_, model.tokens_seen_) == (at_once.n_steps_, at_once.tokens_seen_)
        assert np.array_equal(model.predict_log_proba(texts), at_once.predict_log_proba(texts))
    assert at_once.seconds_before_ == 0 < resumed.seconds_before_ < read.seconds_before_


def test_a_diverged_fit_is_not_read_the_next_time(encoder, tmp_path):
    texts, y = toy()
    diverging = {"budget": Budget(max_steps=4), "checkpoints": tmp_path / "kept", "learning_rate": float("nan")}
    for _ in range(2):
        with pytest.raises(RuntimeError, match="finite training loss"):
            make(encoder, **diverging).fit(texts, y)
    assert not (tmp_path / "kept").exists()


def test_two_fits_in_one_folder_take_turns(encoder, tmp_path):
    texts, y = toy()
    with ThreadPoolExecutor(1) as pool:
        with FileLock(tmp_path / "lock"):
            waiting = pool.submit(make(encoder, budget=Budget(max_steps=1), checkpoints=tmp_path).fit, texts, y)
            assert wait([waiting], timeout=1.0).not_done
            assert not list(tmp_path.glob("checkpoint-*"))
        waiting.result(timeout=60)
    assert list(tmp_path.glob("checkpoint-*"))


def test_same_seed_same_bits_and_the_encoder_is_not_changed(encoder):
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    implementation = encoder.config._attn_implementation
    texts, y = toy(32)
    first, second, other = (
        make(encoder, budget=Budget(max_steps=3), random_state=seed).fit(texts, y).predict_log_proba(texts)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder.config._attn_implementation == implementation


def test_global_random_states_are_left_alone(encoder):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    make(encoder, budget=Budget(max_steps=1)).fit(*toy(32))
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_prints_nothing(encoder, capsys):
    make(encoder, budget=Budget(max_steps=1)).fit(*toy(32))
    assert capsys.readouterr().out == ""


def test_token_budget_is_kept_and_counted(encoder):
    texts, y = toy(64)
    total = sum(len(text) + 2 for text in texts)
    model = make(encoder, budget=Budget(max_tokens=total), batch_size=64).fit(texts, y)
    assert (model.n_steps_, model.tokens_seen_) == (1, total)


def test_the_clock_ends_the_training(encoder):
    texts, y = toy(32)
    budget = Budget(max_epochs=1e6, max_seconds=0.5)
    start = time.perf_counter()
    model = make(encoder, budget=budget).fit(texts, y)
    assert 1 <= model.n_steps_ < 2e6
    assert time.perf_counter() - start < 30


def test_learning_rate_rises_then_falls_to_zero_by_steps_or_clock():
    watch = BudgetCallback(100, None, warmup=0.1, progress=False)
    factors = np.array([watch.learning_rate_factor(step) for step in range(100)])
    assert factors.argmax() in (9, 10)
    assert factors.min() > 0 and factors[-1] < 0.01
    assert np.all(np.diff(factors[10:]) < 0)
    late = BudgetCallback(100, 1e-9, warmup=0.1, progress=False)
    late.on_train_begin(None, None, None)
    assert late.learning_rate_factor(0) == 0.0


def test_bf16_stays_close(encoder):
    texts, y = toy()
    model = make(encoder, bf16=True).fit(texts, y)
    assert model.score(texts, y) > 0.95


def test_mean_pooling_skips_the_padding(encoder):
    network = MeanPooledClassifier(encoder, 3).eval()
    ids = torch.tensor([[CLS, 5, 6, SEP]])
    padded = torch.nn.functional.pad(ids, (0, 4), value=PAD)
    with torch.inference_mode():
        short = network(ids, torch.ones_like(ids))["logits"]
        long = network(padded, (padded != PAD).long())["logits"]
    torch.testing.assert_close(short, long)


def test_training_in_groups_reads_the_same_means_and_little_padding(encoder, monkeypatch):
    monkeypatch.setattr("gencls.data.lengths.groups_of", lambda lengths: groups_of(lengths, 16))
    network = MeanPooledClassifier(encoder, 2)
    network.dropout.p = 0.0
    lengths = torch.tensor([3, 15, 7, 2, 8])
    mask = (torch.arange(15) < lengths[:, None]).long()
    ids = torch.randint(5, VOCAB, mask.shape, generator=torch.Generator().manual_seed(0)) * mask
    plain = network.eval()(ids, mask)["logits"]
    seen = []
    hook = encoder.register_forward_pre_hook(lambda *given: seen.append(given[2]["input_ids"].shape), with_kwargs=True)
    network.train()
    encoder.eval()  # without its dropout
    grouped = network(ids, mask)["logits"]
    hook.remove()
    torch.testing.assert_close(grouped, plain)
    assert [tuple(shape) for shape in seen] == [(1, 15), (2, 8), (2, 3)]


def test_empty_text_and_no_special_tokens(encoder, fitted):
    empty = [np.array([], dtype=np.int64)]
    assert np.isfinite(fitted.predict_log_proba(empty)).all()
    assert fitted.predict_log_proba([]).shape == (0, 2)
    bare = EncoderClassifier(encoder, cls_id=None, sep_id=None, pad_id=PAD, budget=Budget(max_steps=1), progress=False)
    assert np.isfinite(bare.fit(*toy(32)).predict_log_proba(empty)).all()


def test_clone_and_pickle(fitted):
    texts, _ = toy()
    assert not hasattr(clone(fitted), "network_")
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_log_proba(texts), fitted.predict_log_proba(texts))


def test_too_long_a_text_and_a_diverged_training_are_said(encoder):
    texts, y = toy(32)
    with pytest.raises(ValueError, match="at most 16 tokens"):
        make(encoder).fit([np.full(15, 7), *texts[1:]], y)
    with pytest.raises(ValueError, match="positive max_steps"):
        Budget(max_steps=0)
    broken = make(encoder, learning_rate=float("nan"), budget=Budget(max_steps=3))
    with pytest.raises(RuntimeError, match="finite training loss"):
        broken.fit(texts, y)
