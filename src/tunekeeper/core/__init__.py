"""What every room shares: nouns, errors, ids, clocks and the table of implementations.

In: nothing. Out: frozen values and pure functions. Owns: nothing. Never: reads a file's content for its own sake, opens a
database or imports anything but the standard library.
"""
