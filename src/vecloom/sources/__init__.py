"""Folders, git trees and files to documents."""
