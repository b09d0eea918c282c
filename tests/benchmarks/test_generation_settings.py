"""Every setting differs from the base in its factor alone."""

from __future__ import annotations

from dataclasses import asdict, replace

from benchmarks.generation_settings import BASE, PAIRED_ORDERS, STEPS, settings

FIELDS = {
    "order": {"order"},
    "schedule": {"schedule"},
    "temperature": {"temperature"},
    "top_p": {"top_p"},
    "remask": {"remask"},
    "repetition": {"repetition_penalty", "no_repeat_ngram"},
} | {f"steps, {order}": {"order", "n_steps"} for order in PAIRED_ORDERS}


def test_one_factor_at_a_time_and_the_base_in_each():
    base = asdict(BASE)
    for factor, names in FIELDS.items():
        own = [setting for setting in settings() if setting.factor == factor]
        for setting in own:
            assert {name for name, value in setting.key.items() if value != base[name]} <= names
        assert len({repr(setting.key) for setting in own}) == len(own)
        assert len({setting.value for setting in own}) == len(own)
        assert factor == "steps, random" or any(setting.config == BASE for setting in own)
    assert {setting.factor for setting in settings()} == set(FIELDS)


def test_steps_beyond_the_length_are_left_out():
    short = settings(replace(BASE, length=4, n_steps=2))
    counts = [setting.value for setting in short if setting.factor == "steps, random"]
    assert counts == [str(count) for count in STEPS if count <= 4]
