"""Templates: what is given stays, holes are counted, and the text comes back."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.generation.template import parts_of, template_of
from gencls.generation.vocabulary import vocabulary_of


@pytest.fixture(scope="module")
def words(model):
    return vocabulary_of(model.tokenizer, model.denoiser.vocab_size)


def test_parts_and_holes(words):
    template = template_of(parts_of("The [MASK] [MASK] was [MASK].", "[MASK]"), words, 6)
    assert template.parts == ("The ", 2, " was ", 1, ".")
    assert template.given.tolist() == [True, False, False, True, False, True]
    assert (template.token_ids == 6).tolist() == (~template.given).tolist()


def test_the_mask_of_the_tokenizer_is_a_hole_too():
    assert parts_of("a <mask>[MASK]", "<mask>") == ["a ", 1, 1]


def test_given_text_comes_back_as_it_was_written(words):
    template = template_of(["  The CAT,", 2, "Was\tgood! "], words, 6)
    ids = template.token_ids.copy()
    ids[~template.given] = words.tokenizer.convert_tokens_to_ids(["dog", "##s"])
    assert template.text(ids, words) == "  The CAT, dogs Was\tgood! "
    ids[~template.given] = words.tokenizer.convert_tokens_to_ids([",", "un"])
    assert template.text(ids, words) == "  The CAT,, un Was\tgood! "


def test_empty_parts_are_left_out_and_nothing_to_write_is_refused(words):
    assert template_of(["", 3, " "], words, 6).parts == (3,)
    for parts in (["The cat"], [], ["The ", 0]):
        with pytest.raises(ValueError, match="hole"):
            template_of(parts, words, 6)


def test_a_mask_that_is_written_in_a_given_text_is_text(words):
    template = template_of(["the [MASK] cat", 1], words, 6)
    assert not np.isin(6, template.token_ids[template.given])
