"""Records of forwards: every bit comes back, in few bytes, and a damaged record is never believed."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.likelihood.forwards import StoredForward, decode, encode, forward_key

NAME = b"n" * 16


def forward(places, n_classes=2, dtype=np.float32, seed=0):
    log_probs = -np.random.default_rng(seed).exponential(size=(n_classes, len(places))).astype(dtype)
    return StoredForward(np.array(places, dtype=np.int32), log_probs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("places", [[], [0], [7], [70_000], range(64), [3, 4, 9, 500], range(1, 300, 7)])
@pytest.mark.parametrize("n_classes", [1, 2, 52])
def test_every_bit_comes_back(places, n_classes, dtype):
    given = forward(list(places), n_classes, dtype)
    back = decode(NAME, encode(NAME, given))
    np.testing.assert_array_equal(back.places, given.places)
    np.testing.assert_array_equal(back.log_probs, given.log_probs.astype(np.float64), strict=True)


def test_odd_numbers_come_back():
    for dtype in (np.float32, np.float64):
        numbers = np.array([[0.0, -0.0, -1e-45, -1e38, -np.inf, np.nan]], dtype=dtype)
        back = decode(NAME, encode(NAME, StoredForward(np.arange(6, dtype=np.int32), numbers)))
        np.testing.assert_array_equal(back.log_probs.view(np.int64), numbers.astype(np.float64).view(np.int64))


def test_a_record_is_little_more_than_its_numbers():
    numbers = 64 * 2 * 4
    assert len(encode(NAME, forward(range(64)))) - numbers <= 24
    assert len(encode(NAME, forward(range(0, 256, 4)))) - numbers <= 48
    assert len(encode(NAME, forward([511]))) <= 24  # a row of the chain
    assert len(encode(NAME, forward(range(64), dtype=np.float64))) - 2 * numbers <= 24


def test_a_damaged_record_is_not_believed():
    record = encode(NAME, forward([3, 5, 8]))
    for place in range(len(record)):
        for flip in (1, 128, 255):
            damaged = bytearray(record)
            damaged[place] ^= flip
            assert decode(NAME, bytes(damaged)) is None
        assert decode(NAME, record[:place]) is None
    assert decode(b"another name", record) is None
    for other in (None, 3, "text"):
        assert decode(NAME, other) is None


def test_at_gives_the_asked_places_or_nothing():
    given = forward([2, 5, 6, 9])
    np.testing.assert_array_equal(given.at([5, 9]), given.log_probs[:, [1, 3]])
    np.testing.assert_array_equal(given.at([9, 2]), given.log_probs[:, [3, 0]])
    np.testing.assert_array_equal(given.at(given.places), given.log_probs)
    assert given.at([5, 9]).dtype == np.float64
    assert given.at([]).shape == (2, 0)
    for missing in ([0], [5, 7], [10], [-1], [2, 5, 6, 9, 11]):
        assert given.at(missing) is None
    assert forward([]).at([0]) is None


def test_a_union_knows_all_and_changes_nothing():
    old, new = forward([1, 3, 5], seed=0), forward([2, 3, 8], seed=1)
    both = old.union(new)
    assert both.places.tolist() == [1, 2, 3, 5, 8]
    assert both.places.dtype == np.int32
    np.testing.assert_array_equal(both.at(old.places), old.log_probs)
    np.testing.assert_array_equal(both.at([2, 8]), new.at([2, 8]))


def test_a_key_names_the_input_and_nothing_else():
    ids, masked = np.array([1, 2, 3]), np.array([True, False, True])
    keys = [
        forward_key(ids, masked),
        forward_key(ids, ~masked),
        forward_key(ids[:2], masked),
        forward_key(np.array([1, 2, 4]), masked),
        forward_key(ids, masked, 1),
        forward_key(ids, masked[:2]),
        forward_key(ids, np.append(masked, False)),
    ]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {16}
    assert forward_key(ids.astype(np.int32), masked) == keys[0]
    assert forward_key(np.repeat(ids, 2)[::2], masked[::-1][::-1]) == keys[0]


@pytest.mark.parametrize("places", [[3, 2], [2, 2], [-1, 2], [1, 2, 3]])
def test_places_that_do_not_fit_are_refused(places):
    with pytest.raises(ValueError, match=r"Expected ascending places .*; got .*\. Sort"):
        encode(NAME, StoredForward(np.array(places, dtype=np.int32), np.zeros((2, 2))))
