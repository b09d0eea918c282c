"""Words of a text, for the baselines that count them, in scripts with and without spaces.

A word is a run of letters, digits and underscores. A Chinese character or a kana is a word of its own: in a
script that puts no space between words, a whole sentence would else be one word that no other text has.
"""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.feature_extraction.text import CountVectorizer

#: Ranges of a regular expression's class: kana, Chinese characters, and those beyond the basic plane.
UNSPACED = "\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
#: One word, for scikit-learn's vectorizers; words of one letter count, as "i" and "a" do.
WORD_PATTERN = rf"[{UNSPACED}]|[^\W{UNSPACED}]+"
FEW_TEXTS = 1_000  # under this a pair of words seen once is kept: there is little else


def written_without_spaces(texts: Sequence[str]) -> bool:
    """Tell whether the texts are mostly in a script that puts no space between words.

    Decided on the first 200 texts: more than a third of the letters are Chinese characters or kana.

    Examples
    --------
    >>> written_without_spaces(["这本书很好看"]), written_without_spaces(["a very good book"])
    (True, False)
    """
    letters = [character for text in texts[:200] for character in text if character.isalpha()]
    unspaced = [c for c in letters if "\u3040" <= c <= "\u30ff" or "\u3400" <= c <= "\u9fff" or c >= "\U00020000"]
    return 3 * len(unspaced) > len(letters)


def word_counter(n_texts: int, *, longest: int, binary: bool = False, max_features: int = 1_000_000) -> CountVectorizer:
    """Return an unfitted vectorizer that counts the word n-grams of lower-cased texts.

    Parameters
    ----------
    n_texts : int
        Texts that it will be fitted on. From `FEW_TEXTS` on, an n-gram of one text alone is left out.
    longest : int
        Most words of an n-gram.
    binary : bool
        Count an n-gram once in a text, however often it occurs.
    max_features : int
        The most frequent n-grams that are kept.

    Returns
    -------
    CountVectorizer

    Examples
    --------
    >>> sorted(word_counter(1, longest=2).fit(["很好 I like"]).vocabulary_)
    ['i', 'i like', 'like', '好', '好 i', '很', '很 好']
    """
    return CountVectorizer(
        token_pattern=WORD_PATTERN,
        ngram_range=(1, longest),
        binary=binary,
        min_df=1 if n_texts < FEW_TEXTS else 2,
        max_features=max_features,
    )
