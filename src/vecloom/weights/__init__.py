"""Where a model's files come from: a local folder, the hub, a PyPI wheel."""
