"""Folders, git trees and files to documents.

for found in scan(root):                    # File | Skip, in the order of the paths
    data = read(found)                      # bytes | Skip
    document = decode(source, found, data)  # Document | Skip

An `Extractor`, given to `decode`, reads all PDF and docx files of a run in one process.
"""

from __future__ import annotations

from vecloom.sources.documents import decode, digest, lost_parts
from vecloom.sources.entries import File, Reason, ScanOptions, Skip
from vecloom.sources.extractor import Extractor
from vecloom.sources.files import read
from vecloom.sources.walk import scan

__all__ = [
    "Extractor",
    "File",
    "Reason",
    "ScanOptions",
    "Skip",
    "decode",
    "digest",
    "lost_parts",
    "read",
    "scan",
]
