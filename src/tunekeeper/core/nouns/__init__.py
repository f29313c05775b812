"""The nouns: one file per stage of the loop. Each is frozen, keyword-only, with a docstring under every field.

`id` is the key of a record, `rev` the number of times it was saved (0: not yet), `created` its UTC moment.
"""
