"""``python -m vecloom``."""

from vecloom.cli import main

main()
