"""Two views of a text: `clean`, which models read, and `normal_form`, which tells duplicates.

Two texts are duplicates when their normal forms are equal: same letters and digits in the same order,
whatever the case, the punctuation, the width of characters (NFKC) or the spacing.
"""

from __future__ import annotations

import re
import unicodedata

_BREAK = re.compile(r"<\s*br\s*/?\s*>|</\s*br\s*>", re.IGNORECASE)
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


def clean(text: str) -> str:
    """Replace HTML line breaks with spaces and collapse white space.

    HTML entities and all other markup stay: they are part of what was written, and a wrong guess would lose
    text.

    >>> clean("Good.<br /><br>Really\\n good &amp; short ")
    'Good. Really good &amp; short'
    """
    return " ".join(_BREAK.sub(" ", text).split())


def normal_form(text: str) -> str:
    """The form in which duplicates are equal: NFKC, case-folded, runs of non-alphanumerics as one space.

    A text without a letter or digit keeps its signs, so that two different emoji are not duplicates.

    >>> normal_form("  So, GOOD -- really!") == normal_form("so good really")
    True
    >>> normal_form(":-)") == normal_form(":-(")
    False
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", clean(text)).casefold())
    return _NOT_ALPHANUMERIC.sub(" ", folded).strip() or folded
