"""A vocabulary of many languages, trimmed to the pieces of the training texts: what is kept is as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from gencls.classifier.estimator import DiffusionClassifier
from gencls.data import four_bit_bert, pretrained
from gencls.data.four_bit_bert import REGISTRY_FOUR_BIT
from gencls.diffusion import backbones, trimming
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.trimming import trim_embeddings, trim_tokenizer
from gencls.evaluation.rival_fits import rival_encoder

WORDS = ["▁", "酒店", "很好", "不好", "▁hotel", "▁bon", "s", "ab", "cd"]
LETTERS = [chr(97 + place) for place in range(26)]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
LAST = [one for one in LETTERS if one != "s"]
PIECES = [*SPECIAL[:-1], *WORDS, *LAST, "σ", *"酒店很好不差", "<mask>"]
TEXTS = ["酒店很好", "hotels", "酒店差"]


def many_languages():
    scores = [(piece, 0.0 if place < 4 else -2.0 if piece in WORDS else -5.0) for place, piece in enumerate(PIECES)]
    inner = Tokenizer(models.Unigram(scores, unk_id=3))
    inner.normalizer, inner.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}
    options = {f"{name}_token": piece for name, piece in names.items()}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=48, **options)


def network(kind=BertForMaskedLM):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = XLMRobertaConfig if kind is XLMRobertaForMaskedLM else BertConfig
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = kind(config(vocab_size=len(PIECES) + 3, max_position_embeddings=48, pad_token_id=1, **sizes))
        if kind is not BertModel:
            torch.nn.init.normal_(made.get_output_embeddings().bias)
    return made.eval()


def pieces_of(tokenizer):
    return [piece for piece, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]


def test_kept_are_the_pieces_of_the_texts_the_characters_of_their_scripts_and_the_special_tokens():
    kept = pieces_of(trim_tokenizer(many_languages(), TEXTS))
    of_texts = {"▁", "酒店", "很好", "▁hotel", *LETTERS, *"酒店很好不差"}
    assert kept == [piece for piece in PIECES if piece in {*SPECIAL, *of_texts}]
    assert not {"不好", "▁bon", "ab", "σ"} & set(kept), "words that no text has, and another script"


def test_the_names_of_special_tokens_add_no_letters():
    kept = pieces_of(trim_tokenizer(many_languages(), ["酒店猫"]))
    assert kept == [*SPECIAL[:-1], "▁", "酒店", *"酒店很好不差", "<mask>"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_training_text_is_cut_in_the_same_pieces(text):
    whole, cut = many_languages(), trim_tokenizer(many_languages(), TEXTS)
    assert cut.tokenize(text) == whole.tokenize(text)
    assert cut.convert_ids_to_tokens(cut(text).input_ids) == ["<s>", *whole.tokenize(text), "</s>"]
    assert cut.decode(cut(text).input_ids, skip_special_tokens=True) == text


def test_another_text_is_cut_in_what_is_left():
    cut = trim_tokenizer(many_languages(), TEXTS)
    assert cut.tokenize("hot") == ["▁", "h", "o", "t"]
    assert cut.tokenize("酒店不好") == ["▁", "酒店", "不", "好"], "不 is in no training text"
    assert cut.convert_ids_to_tokens(cut("酒店σ").input_ids) == ["<s>", "▁", "酒店", "<unk>", "</s>"]
    assert cut.special_tokens_map == many_languages().special_tokens_map
    assert cut.model_max_length == 48


def test_the_order_of_the_texts_changes_nothing():
    one, other = (trim_tokenizer(many_languages(), texts) for texts in (TEXTS, TEXTS[::-1]))
    assert one.get_vocab() == other.get_vocab()


def test_a_trimmed_tokenizer_is_saved_and_read(tmp_path):
    cut = trim_tokenizer(many_languages(), TEXTS)
    cut.save_pretrained(tmp_path)
    again = backbones.load_tokenizer(tmp_path)
    assert again.get_vocab() == cut.get_vocab()
    assert again("酒店很好").input_ids == cut("酒店很好").input_ids


def test_logits_of_the_kept_pieces_are_as_they_were():
    whole, cut = many_languages(), trim_tokenizer(many_languages(), TEXTS)
    model, smaller = network(), network()
    trim_embeddings(smaller, whole, cut)
    rows = [PIECES.index(piece) for piece in pieces_of(cut)]
    for text in TEXTS:
        before = model(**whole(text, return_tensors="pt")).logits[..., rows]
        after = smaller(**cut(text, return_tensors="pt")).logits
        torch.testing.assert_close(after, before)
    assert smaller.get_output_embeddings().weight is smaller.get_input_embeddings().weight
    assert smaller.config.vocab_size == len(cut)
    assert smaller.get_input_embeddings().padding_idx == cut.pad_token_id == 1


def test_pieces_that_the_model_never_had_are_refused():
    cut = trim_tokenizer(many_languages(), TEXTS)
    with pytest.raises(ValueError, match="pieces of the model's own tokenizer"):
        trim_embeddings(network(), cut, many_languages())


def test_a_tokenizer_of_merges_is_refused():
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0}, [])), unk_token="a")
    with pytest.raises(ValueError, match=r"a unigram tokenizer.*BPE"):
        trim_tokenizer(other, TEXTS)


@pytest.fixture
def without_a_hub(tmp_path, monkeypatch):
    """``multilingual-e5`` is a small model, unpacked."""
    network(BertModel).save_pretrained(tmp_path / "model")
    many_languages().save_pretrained(tmp_path / "model")
    monkeypatch.setattr(pretrained, "hub_reachable", lambda: False)
    monkeypatch.setattr(trimming, "MANY_PIECES", len(PIECES) - 1)
    monkeypatch.setattr(four_bit_bert.FourBitBert, "unpacked", lambda self, cache: tmp_path / "model")
    return tmp_path


def test_a_multilingual_backbone_has_the_vocabulary_of_its_texts(without_a_hub):
    cut, whole = load_backbone("multilingual-e5", texts=TEXTS), load_backbone("multilingual-e5")
    assert cut.source == REGISTRY_FOUR_BIT["multilingual-e5"].source
    assert not cut.has_head
    assert (len(cut.tokenizer), len(cut.projection), len(cut.bias)) == (cut.config.vocab_size,) * 3
    assert (len(whole.tokenizer), len(whole.projection)) == (len(PIECES), len(PIECES) + 3)
    assert cut.frame.as_dict() == {"bos": 0, "eos": 2, "pad": 1, "mask": len(cut.tokenizer) - 1}
    places = [cut.tokenizer.get_vocab()[piece] for piece in ("酒店", "<mask>")]
    assert torch.equal(cut.projection[places], whole.projection[[PIECES.index("酒店"), len(PIECES) - 1]])


def test_the_hub_is_asked_for_the_same_model(without_a_hub, monkeypatch):
    asked = []

    def from_pretrained(place, **options):
        asked.append(place)
        raise OSError("no such thing here")

    monkeypatch.setattr(pretrained, "hub_reachable", lambda: True)
    monkeypatch.setattr(AutoModelForMaskedLM, "from_pretrained", from_pretrained)
    monkeypatch.setattr(backbones, "is_causal_only", lambda place: False)
    with pytest.raises(ValueError, match="multilingual-e5"):
        load_backbone("multilingual-e5", texts=TEXTS)
    assert asked == ["intfloat/multilingual-e5-small"]


@pytest.mark.parametrize("kind", [BertForMaskedLM, XLMRobertaForMaskedLM])
def test_a_folder_of_many_pieces_is_trimmed_with_its_output_bias(without_a_hub, kind):
    network(kind).save_pretrained(without_a_hub / "other")
    many_languages().save_pretrained(without_a_hub / "other")
    whole = load_backbone(str(without_a_hub / "other"))
    cut = load_backbone(str(without_a_hub / "other"), texts=TEXTS)
    rows = [PIECES.index(piece) for piece in pieces_of(cut.tokenizer)]
    assert cut.has_head
    assert len(rows) < len(PIECES)
    assert torch.equal(cut.projection, whole.projection[rows])
    assert torch.equal(cut.bias, whole.bias[rows])
    assert cut.bias.any()


def test_tokens_beside_the_pieces_leave_it_whole(without_a_hub):
    tokenizer = many_languages()
    assert trimming.is_multilingual(tokenizer)
    tokenizer.add_tokens(["<one more>"])
    assert not trimming.is_multilingual(tokenizer)


def test_a_smaller_vocabulary_is_left_whole(without_a_hub, monkeypatch):
    monkeypatch.setattr(trimming, "MANY_PIECES", len(PIECES))
    assert len(load_backbone("multilingual-e5", texts=TEXTS).tokenizer) == len(PIECES)


def test_without_texts_it_says_what_it_keeps(without_a_hub, caplog):
    load_backbone("multilingual-e5")
    assert f"keeps all of its {len(PIECES)} pieces" in caplog.text


def test_a_classifier_and_its_rival_read_the_same_pieces(without_a_hub, tmp_path):
    options = {"backbone_layers": 1, "adapt_steps": 2, "class_steps": 2, "batch_size": 4, "max_length": 16}
    classifier = DiffusionClassifier("multilingual-e5", progress=False, **options)
    texts = ["hotel abab", "hotels ab", "hot abba", "hotel bab", "hotel cdcd", "hotels cd", "hot dcdc", "hotel dc"] * 6
    classifier.fit(texts, ([0] * 4 + [1] * 4) * 6)
    n_pieces = len(classifier.tokenizer_)
    assert n_pieces < len(PIECES)
    encoder = rival_encoder(classifier, progress=False).encoder
    assert len(encoder.get_input_embeddings().weight) == n_pieces
    own, all_rows = classifier.tokenizer_.get_vocab()["▁hotel"], network(BertModel).get_input_embeddings().weight
    assert torch.equal(encoder.get_input_embeddings().weight[own], all_rows[PIECES.index("▁hotel")])
    classifier.save(tmp_path / "saved")
    again = DiffusionClassifier.load(tmp_path / "saved").set_params(progress=False)
    assert again.predict_log_proba(texts[:4]) == pytest.approx(classifier.predict_log_proba(texts[:4]), abs=0)


def test_prompts_start_from_labels_that_no_text_has(without_a_hub):
    options = {"adapt_steps": 1, "class_steps": 0, "batch_size": 4, "max_length": 16}
    classifier = DiffusionClassifier("multilingual-e5", mode="prompt", progress=False, **options)
    classifier.fit(["酒店很好", "酒店很差", "很好", "差不好"] * 8, ["good", "bad", "good", "bad"] * 8)
    first, second = (classifier.tokenize([name]).ids[0] for name in ("good", "bad"))
    assert classifier.tokenizer_.unk_token_id not in {*first, *second}
    assert first.tolist() != second.tolist()


def test_unlabelled_texts_widen_the_vocabulary_and_names_of_special_tokens_are_text(without_a_hub):
    options = {"adapt_steps": 1, "class_steps": 1, "batch_size": 4, "max_length": 16}
    classifier = DiffusionClassifier("multilingual-e5", backbone_layers=1, progress=False, **options)
    texts, labels = ["酒店很好", "酒店很差", "很好", "差不好"] * 8, [0, 1] * 16
    classifier.fit(texts, labels, unlabelled=["hotels ab"] * 4)
    assert {"▁hotel", "ab"} <= set(classifier.tokenizer_.get_vocab())
    strange = classifier.predict_log_proba(["σσ", "<mask></s>", ""])
    assert np.isfinite(strange).all()
    assert not set(classifier.tokenizer_.all_special_ids[-1:]) & set(classifier.tokenize(["<mask>"]).ids[0].tolist())


def test_a_run_that_is_there_is_read_with_the_same_vocabulary(without_a_hub, tmp_path):
    texts = ["酒店很好", "酒店很差", "很好", "差不好"] * 8
    options = {"adapt_steps": 2, "class_steps": 2, "batch_size": 4, "max_length": 16, "run_dir": tmp_path / "run"}
    made = [DiffusionClassifier("multilingual-e5", backbone_layers=1, progress=False, **options) for _ in range(2)]
    for one in made:
        one.fit(texts, [0, 1] * 16)
    assert made[0].tokenizer_.get_vocab() == made[1].tokenizer_.get_vocab()
    assert (made[0].predict_log_proba(texts[:4]) == made[1].predict_log_proba(texts[:4])).all()
