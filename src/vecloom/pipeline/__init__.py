"""Sources to chunks to vectors to a store: what is new, what changed, what is gone.

An index run has two steps. `vecloom.pipeline.storing` reads the tree and stores every chunk with the
vectors that cost next to nothing (BM25), so that searches find the whole tree after seconds;
`vecloom.pipeline.filling` then encodes what the points still lack. Both hold the shard only for moments,
and both can be killed at any time: the next run goes on from what was stored.
"""
