"""Folders, git trees and files to documents.

for found in scan(root):                    # File | Skip, in the order of the paths
    data = read(found)                      # bytes | Skip
    document = decode(source, found, data)  # Document | Skip

Who reads a user's tree has `vecloom.pipeline.reading.Reader` decode, in a process of its own.
"""

from __future__ import annotations

from vecloom.sources.documents import decode, digest, lost_parts
from vecloom.sources.entries import File, Reason, ScanOptions, Skip
from vecloom.sources.extraction import Limits
from vecloom.sources.files import read
from vecloom.sources.walk import scan

__all__ = [
    "File",
    "Limits",
    "Reason",
    "ScanOptions",
    "Skip",
    "decode",
    "digest",
    "lost_parts",
    "read",
    "scan",
]
