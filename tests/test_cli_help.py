"""The command line answers at once and loads nothing heavy before a verb runs."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

import pytest

import gencls
from gencls.cli import main as cli

HEAVY = ("torch", "transformers", "pandas", "sklearn", "datasets", "matplotlib", "scipy", "numpy")
LOADED = f"import sys; sys.exit(', '.join(sorted(set({HEAVY}) & set(sys.modules))) or 0)"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_import_gencls_loads_nothing_heavy():
    done = python(f"import gencls; {LOADED}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [[], *([verb] for verb in cli.VERBS)])
def test_help_loads_nothing_heavy(words):
    call = f"try:\n    main({[*words, '--help']})\nexcept SystemExit:\n    {LOADED}"
    done = python(f"from gencls.cli.main import main\n{call}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: gencls" in done.stdout


def test_help_answers_in_under_a_second():
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "gencls", "--help"], capture_output=True, check=True)
        return time.perf_counter() - start

    # The best of a few: a busy machine may delay one start, not all.
    assert min(seconds() for _ in range(5)) < 1.0


def test_gencls_alone_shows_the_way_in_three_lines(capsys):
    assert cli.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["train-per-class", "evaluate", "predict"]


def test_version(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"gencls {gencls.__version__}\n"


@pytest.fixture
def verb_that(monkeypatch):
    """Make ``gencls predict`` raise, so that the command line's own manners can be seen."""

    def install(error: BaseException) -> None:
        def run(args: object) -> int:
            raise error

        monkeypatch.setattr("gencls.cli.predict.run", run)

    return install


@pytest.mark.parametrize("error", [ValueError("expected 2 classes"), FileNotFoundError("no such run")])
def test_user_error_is_one_message(verb_that, capsys, error):
    verb_that(error)
    assert cli.main(["predict", "run"]) == 2
    assert capsys.readouterr().err == f"gencls: error: {error}\n"


@pytest.mark.parametrize("words", [["--debug", "predict", "run"], ["predict", "run", "--debug"]])
def test_debug_shows_the_traceback(verb_that, words):
    verb_that(ValueError("expected 2 classes"))
    with pytest.raises(ValueError, match="expected 2 classes"):
        cli.main(words)


def test_our_own_mistake_is_not_dressed_as_the_users(verb_that):
    verb_that(AssertionError("a bug"))
    with pytest.raises(AssertionError):
        cli.main(["predict", "run"])


def test_interrupt_says_that_the_run_resumes(verb_that, capsys):
    verb_that(KeyboardInterrupt())
    assert cli.main(["predict", "run"]) == 130
    assert "resumes" in capsys.readouterr().err


def test_log_lines_are_plain_and_not_doubled(monkeypatch, capsys):
    logger = logging.getLogger("gencls.data")
    monkeypatch.setattr("gencls.cli.predict.run", lambda args: logger.info("read") or 0)
    assert cli.main(["predict", "run"]) == cli.main(["predict", "run"]) == 0
    assert capsys.readouterr().err == "read\nread\n"


def test_unknown_public_name_lists_the_known():
    with pytest.raises(AttributeError, match="DiffusionClassifier"):
        gencls.Diffusion  # noqa: B018
