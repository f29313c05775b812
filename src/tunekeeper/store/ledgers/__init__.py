"""One file per noun: typed reading for everybody, writing for the one room that `WRITER` names.

Writers are imported as `from tunekeeper.store.ledgers.rollouts import save_rollout` and in no other way, so that a test can
see who writes what.
"""
