"""The version, where every layer can import it from."""

__version__ = "0.1.0"
