"""The command ``gencls``: reads the words of the command line and hands them to the verb's module."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from gencls import __version__

VERBS = {
    "data": "gencls.cli.data",
    "train-per-class": "gencls.cli.train",
    "evaluate": "gencls.cli.evaluate",
    "predict": "gencls.cli.predict",
    "train-lm": "gencls.cli.train_lm",
    "generate": "gencls.cli.generate",
    "compare": "gencls.cli.compare",
    "show": "gencls.cli.show",
    "complete": "gencls.cli.complete",
    "benchmark": "gencls.cli.benchmark",
}

THE_WAY = """\
gencls train-per-class imdb --preset demo --output runs/imdb-demo   # one language model per class
gencls evaluate runs/imdb-demo --output reports/imdb-demo           # score held-out texts, write the report
gencls predict runs/imdb-demo "A film I will never forget."         # JSON lines; `gencls --help` says more"""

INTERRUPTED = "gencls: stopped; what was finished is kept, and the same command resumes where it stopped"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; the verbs' modules add their own flags."""
    parser = argparse.ArgumentParser(
        prog="gencls",
        description="Generative text classifiers: one masked-diffusion language model per class.",
        epilog="The way through:\n" + THE_WAY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gencls {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB")
    for module in VERBS.values():
        import_module(module).add_parser(subparsers)
    for subparser in subparsers.choices.values():
        # Also accepted after the verb; SUPPRESS keeps its absence there from undoing the one before the verb.
        subparser.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after ``gencls``; those of the process when None.

    Returns
    -------
    int
        0 done, 2 a mistake in the command or its input, 130 interrupted, 141 the reader went away.
    """
    args = _parsed(argv)
    if args.verb is None:
        print(THE_WAY)
        return 0
    _log_to_stderr()
    try:
        status = int(import_module(VERBS[args.verb]).run(args))
        sys.stdout.flush()  # here, where a closed pipe is still ours to handle
        return status
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    except BrokenPipeError:
        return _reader_gone()
    except Exception as error:
        if args.debug or not _is_user_error(error):
            raise
        print(f"gencls: error: {_message(error)}", file=sys.stderr)
        return 2


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; texts may stand behind the options, too, which argparse does not know for a verb's."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(args, "texts") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.texts += rest
    return args


def _is_user_error(error: Exception) -> bool:
    """Tell the user's errors, which get a message, from ours, which get a traceback."""
    ours = type(error).__module__.split(".")[0] == "gencls"
    return ours or isinstance(error, (ValueError, TypeError, OSError))


def _message(error: Exception) -> str:
    return str(error) or f"{type(error).__name__} without a message; run again with --debug to see where"


def _reader_gone() -> int:
    """End quietly when the reader of a pipe has closed it (``gencls predict ... | head``)."""
    # Python flushes stdout at exit and would complain about the closed pipe a second time.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def _log_to_stderr() -> None:
    """Send the INFO lines of the logger ``gencls`` to stderr as plain text."""
    handler = logging.StreamHandler(sys.stderr)
    handler.name = "gencls-cli"
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("gencls")
    # main() may be called many times in one process: keep one handler, on the stderr of today.
    for old in [h for h in logger.handlers if h.name == handler.name]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
