"""The command line: one file per verb, and nothing heavy imported before a verb runs.

A verb's module offers ``add_parser(subparsers)`` (flags only) and ``run(args) -> int`` (its imports inside).
"""
