"""Interfaces of programs whose place vecloom takes: thin layers over the facade.

`vecloom.compat.v4` is the one of ``kaggle_ultimate_embedder_v4``; docs/seed.md lists where it differs.
"""
