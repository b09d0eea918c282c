"""Windows: all tokens once, none too long, sentences whole where they fit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gencls.diffusion.tokens import tiny_tokenizer
from gencls.diffusion.windows import sentence_end_ids, sentence_windows, text_windows


@given(ends=st.lists(st.booleans(), max_size=60), max_length=st.integers(1, 12))
def test_windows_hold_the_text_and_end_with_sentences(ends, max_length):
    is_end, ids = np.array(ends, dtype=bool), np.arange(len(ends))
    windows = sentence_windows(ids, is_end, max_length=max_length)
    assert np.concatenate([ids[:0], *windows]).tolist() == ids.tolist()
    assert all(0 < len(window) <= max_length for window in windows)
    for window in windows[:-1]:
        # a full window, or one that is cut behind a sentence and at least half full
        assert len(window) == max_length or (is_end[window[-1]] and 2 * len(window) >= max_length)


def test_texts_are_tokenised_as_they_come():
    tokenizer = tiny_tokenizer()
    is_end = sentence_end_ids(tokenizer)
    assert set(tokenizer.convert_ids_to_tokens(np.flatnonzero(is_end).tolist())) == {".", "!", "?"}
    seen = []

    def stream():
        for number in range(1000):
            seen.append(number)
            yield "ab. cd. ef."

    windows = text_windows(stream(), tokenizer, max_length=7)
    first = [tokenizer.decode(next(windows)).replace(" ", "") for _ in range(2)]
    assert first == ["ab.cd.", "ef."]
    assert len(seen) <= 256, "a stream is not read to its end"
