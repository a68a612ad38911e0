"""Folders, git trees and files to documents.

for found in scan(root):                    # File | Skip, in the order of the paths
    data = read(found)                      # bytes | Skip
    document = decode(source, found, data)  # Document | Skip
"""

from __future__ import annotations

from vecloom.sources.documents import decode, digest
from vecloom.sources.entries import File, Reason, ScanOptions, Skip
from vecloom.sources.files import read
from vecloom.sources.walk import scan

__all__ = [
    "File",
    "Reason",
    "ScanOptions",
    "Skip",
    "decode",
    "digest",
    "read",
    "scan",
]
