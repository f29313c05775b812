"""The command line: parse, call one verb of a room, print.

In: arguments, environment, the project's files. Out: one answer on stdout (text, or one JSON document with `--json`), progress
and logs on stderr, an exit code. Owns: nothing. Never: decides, computes or stores anything itself.
"""
