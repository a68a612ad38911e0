"""Documents to chunks: exact slices within a token budget."""
