"""Every rival on a toy run: a distribution for each text, better than chance, with its costs; bad names at once."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, MPNetConfig, MPNetModel

from gencls.baselines.causal import new_causal
from gencls.classifier.bayes import log_posterior
from gencls.classifier.estimator import DiffusionClassifier
from gencls.cli.main import main
from gencls.data.storage import read_json
from gencls.diffusion.tokens import tiny_tokenizer, tokenize
from gencls.evaluation import rivals
from gencls.evaluation.rival_data import CausalOptions, RivalData
from gencls.evaluation.rival_fits import _keep_attention, fit_pair_tables, rival_encoder
from gencls.evaluation.rivals import ALL_BASELINES, BASELINES, check_baselines, fit_baseline
from gencls.evaluation.runs import load_run_data
from gencls.reporting.figures import MODEL_TITLES
from gencls.training.class_tables import fit_statistics
from gencls.training.examples import TokenizedSplit, TrainingTexts

CAUSAL = ("causal_per_class", "causal_scratch", "causal_zero_shot")
BARELY = {"causal_per_class", "causal_zero_shot"}  # a random model, and a handful of steps: only their form is tested


@pytest.fixture(scope="module")
def causal_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("causal") / "tiny"
    tokenizer = tiny_tokenizer()
    new_causal(len(tokenizer), width=16, n_layers=1, n_heads=2, n_positions=64, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def material(toy_run):
    classifier = DiffusionClassifier.load(toy_run)
    _, dataset, splits = load_run_data(toy_run)
    names = np.array(dataset.label_names)
    return classifier, {
        name: RivalData(
            split.texts, classifier.tokenize(split.texts).ids, classifier.encode_labels(names[split.labels])
        )
        for name, split in splits.items()
    }


# the encoder is in test_evaluate
@pytest.mark.parametrize("name", [name for name in ALL_BASELINES if name != "encoder"])
def test_every_rival(name, material, causal_folder):
    classifier, data = material
    # no two toy texts share a word, so that each letter is made one
    words = {key: replace(part, texts=[" ".join(2 * a for a in t) for t in part.texts]) for key, part in data.items()}
    options = CausalOptions(str(causal_folder), n_steps=20, max_seconds=None, learning_rate=1e-2)
    log_proba, record = fit_baseline(name, classifier, data if name in CAUSAL else words, causal=options)
    labels = data["test"].labels
    assert log_proba.shape == (len(labels), 2)
    np.testing.assert_allclose(np.exp(log_proba).sum(axis=1), 1.0)
    if name not in BARELY:
        assert (log_proba.argmax(axis=1) == labels).mean() > 0.7
    assert record["score_flops_per_text"] > 0
    assert (record["train_flops"] == 0) == (name == "causal_zero_shot")
    assert record["seconds"] > 0
    assert record["temperature"]["n_texts"] == sum(len(ids) > 0 for ids in data["calibration"].ids)
    if name in ("causal_per_class", "causal_scratch"):
        assert record["steps_per_class"] == 20
        assert len(record["tokens_seen_per_class"]) == 2
        low, high = sorted(record["tokens_seen_per_class"])
        assert low > 0.9 * high


def test_the_count_tables_are_what_the_training_counted(material):
    """Read from the model, and the same as counted again from its training texts, smoothed as it was."""
    classifier, data = material
    train, held, denoiser = data["train"], data["validation"], classifier.denoiser_
    texts = TrainingTexts(train.ids, train.labels, np.zeros_like(train.labels), 2)
    statistics, chosen = fit_statistics(
        denoiser, texts, TokenizedSplit(held.ids, held.labels), classifier.train_config()
    )
    log_prior = np.log(np.bincount(train.labels) / len(train.labels))
    wanted = log_posterior(statistics.scores(statistics.table(**chosen), data["test"].ids), log_prior)
    predict, record = fit_pair_tables(classifier, data)
    np.testing.assert_allclose(predict(data["test"]), wanted, atol=1e-4)
    assert {name: record[name] for name in chosen} == chosen
    assert np.abs(wanted).max() > 1  # and they do say something


def test_the_count_tables_read_whole_texts_where_the_classifier_does(material):
    classifier, data = material
    longer = [" ".join(data["test"].texts[place : place + 3]) for place in range(8)]
    part = RivalData(longer, classifier.tokenize(longer).ids, data["test"].labels[:8])
    log_prior = np.log(np.bincount(data["train"].labels) / len(data["train"].labels))
    whole = tokenize(longer, classifier.tokenizer_, max_length=10_000).ids
    assert all(len(ids) > classifier.max_length for ids in whole)
    for long_texts, wanted in (("chunks", whole), ("truncate", part.ids)):
        chosen = copy.copy(classifier).set_params(long_texts=long_texts)
        found = fit_pair_tables(chosen, data)[0](part)
        np.testing.assert_array_equal(found, log_posterior(chosen.denoiser_.count_scores(wanted), log_prior))


@pytest.mark.parametrize("long_texts", ["chunks", "truncate"])
def test_the_temperature_of_the_count_tables_knows_how_much_they_read(long_texts, material, monkeypatch):
    classifier, data = material
    chosen = copy.copy(classifier).set_params(long_texts=long_texts)
    longer = [" ".join(data["test"].texts[place : place + 3]) for place in range(8)]
    part = RivalData(longer, chosen.tokenize(longer).ids, data["test"].labels[:8])
    fitted = []
    fit = rivals.fit_temperature
    monkeypatch.setattr(rivals, "fit_temperature", lambda *args: fitted.append(args[2]) or fit(*args))
    fit_baseline("naive_bayes_pairs", chosen, {**data, "calibration": part})
    expected = chosen.score_ids(chosen.scoring_ids(longer)).n_tokens
    np.testing.assert_array_equal(fitted[0], expected)
    assert (expected.max() > chosen.max_length) == (long_texts == "chunks")


def test_few_texts_do_not_starve_the_encoder(material):
    """A run of 3 + 3 steps of 8 texts: three passes over eight texts would be three steps."""
    classifier, data = material
    few = {**data, "train": data["train"].sample(8)}
    assert set(few["train"].labels) == {0, 1}
    record = fit_baseline("encoder", classifier, few)[1]
    assert (record["steps"], record["n_layers"]) == (6, 2)


@pytest.mark.parametrize(
    ("kind", "model"), [(BertConfig, BertModel), (MPNetConfig, MPNetModel), (DistilBertConfig, DistilBertModel)]
)
def test_the_encoder_keeps_all_attention_and_drops_the_rest(kind, model):
    encoder = model(kind(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8))
    _keep_attention(encoder)
    rates = [module.p for module in encoder.modules() if isinstance(module, torch.nn.Dropout)]
    assert sum(rate == 0 for rate in rates) == 1
    assert sum(rate == 0.1 for rate in rates) == len(rates) - 1 >= 2


def test_an_encoder_from_random_weights_trains_at_the_classifiers_rate(material):
    classifier, _ = material
    scratch = copy.copy(classifier).set_params(backbone="scratch-64x1", options={"learning_rate": 3e-3})
    assert rival_encoder(scratch).learning_rate == 3e-3
    other = copy.copy(classifier).set_params(options={"learning_rate": 3e-3})
    assert rival_encoder(other).learning_rate == 1e-4, "the usual one of a pretrained network"


def test_the_encoder_takes_the_steps_that_it_is_given(material):
    classifier, data = material
    log_proba, record = fit_baseline("encoder", classifier, data, encoder_steps=9)
    usual, same = fit_baseline("encoder", classifier, data)
    assert (record["steps"], same["steps"]) == (9, 6)
    assert np.abs(log_proba - usual).max() > 1e-4
    assert record["train_flops"] > 1.3 * same["train_flops"]


def test_causal_budgets_reach_the_fit(material, causal_folder):
    classifier, data = material
    few = CausalOptions(str(causal_folder), n_steps=1, calibration_texts=4)
    record = fit_baseline("causal_per_class", classifier, data, causal=few)[1]
    assert (record["steps_per_class"], record["temperature"]["n_texts"]) == (1, 4)
    # a run of 3 + 3 steps of 8 texts: 48 texts for two classes, 8 at a time
    asked = CausalOptions(str(causal_folder), max_seconds=None)
    assert fit_baseline("causal_scratch", classifier, data, causal=asked)[1]["steps_per_class"] == 3
    for name in ("n_steps", "max_seconds", "calibration_texts"):
        with pytest.raises(ValueError, match=f"positive {name}"):
            CausalOptions(**{name: 0})


def test_a_sample_is_of_both_ends_and_keeps_each_text_with_its_label(material):
    _, data = material
    part = data["train"]
    some = part.sample(20)
    places = [part.texts.index(text) for text in some.texts]
    assert len(set(places)) == 20 and places == sorted(places)
    assert places[0] < len(part.texts) / 4 and places[-1] > 3 * len(part.texts) / 4, "splits may be in any order"
    assert some.labels.tolist() == part.labels[places].tolist()
    assert all(np.array_equal(ids, part.ids[place]) for ids, place in zip(some.ids, places, strict=True))
    assert part.sample(20).texts == some.texts
    assert part.sample(None) is part.sample(10_000) is part


def test_names_are_checked_at_once():
    check_baselines(ALL_BASELINES)
    with pytest.raises(ValueError, match=r"got 'nb_smv'\. Use nearest: 'nb_svm'"):
        check_baselines(["nb_smv"])
    with pytest.raises(ValueError, match="no hub answers"):
        check_baselines(["causal_zero_shot"], CausalOptions("gpt2"))
    check_baselines(["causal_scratch"], CausalOptions("gpt2"))  # does not need it


def test_slow_rivals_are_asked_for_and_all_have_titles():
    assert set(BASELINES) < set(ALL_BASELINES)
    assert not [name for name in BASELINES if name.startswith("causal")]
    assert set(ALL_BASELINES) <= set(MODEL_TITLES)


def test_the_command_takes_them(toy_run, causal_folder, tmp_path):
    flags = ["--baselines", "naive_bayes_words,causal_zero_shot", "--causal-model", str(causal_folder)]
    assert main(["evaluate", str(toy_run), "--output", str(tmp_path), *flags, "--max-texts", "16"]) == 0
    assert set(read_json(tmp_path / "metrics.json")) == {"diffusion", "naive_bayes_words", "causal_zero_shot"}
    record = read_json(tmp_path / "run.json")["baselines"]["causal_zero_shot"]
    assert record["source"] == "folder tiny"
    assert "causal LM, zero-shot" in (tmp_path / "report.md").read_text(encoding="utf-8")
