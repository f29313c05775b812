"""Training at a provider: the rows go up, a job of theirs is followed, an adapter or a model name comes back.

In: a dataset, a recipe, the provider's name of the base. Out: an adapter folder (Together), or the name of a model that the
provider serves (OpenAI, Mistral, Fireworks). The child that does it is `job.run`; `terms.py` says what each provider can do.
Never: keeps or prints a key, sends rows that the provider's own limits would refuse, or begins the same work twice.
"""
