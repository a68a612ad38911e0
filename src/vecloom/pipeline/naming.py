"""Roots to sources: what an indexed tree is called."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vecloom.arguments import check_path, check_text, describe_value
from vecloom.errors import UsageError
from vecloom.paths import escape_name, source_name


def name_sources(
    existing: Mapping[str, str], roots: Sequence[str | os.PathLike[str]], name: str | None
) -> dict[str, Path]:
    """Name -> absolute root of the trees to index.

    A root that is a source already keeps its name. ``name`` (for one root) names a new source, or says that
    a known one, whose root is gone, has moved to this root. Otherwise a root is called by its base name, with
    -2, -3 on a clash. A source with the root "" came with a pack: which tree goes on with it must be said.

    Raises:
        UsageError: no root, one that does not exist, ``name`` with several roots, for a root that has another
            name, or of a source whose root is still there; or a root that is called like a source of a pack.
    """
    for number, root in enumerate(roots):
        if isinstance(root, list | tuple):
            raise UsageError(f"roots[{number}] is {describe_value(root)}; give each path on its own: *paths")
        check_path(f"roots[{number}]", root)
    if name is not None:
        check_text("source", name)
    if not roots:
        raise UsageError("name a folder or file to index")
    if name is not None and len(roots) > 1:
        raise UsageError(
            f"--source {name} names one source, but there are {len(roots)} paths; do them singly"
        )
    name = name if name is None else escape_name(name)
    taken = {root: known for known, root in existing.items() if root}
    named: dict[str, Path] = {}
    for given in roots:
        root = Path(given).resolve()
        if not root.exists():
            raise UsageError(f"{os.fspath(given)!r} does not exist; name a folder or file to index")
        known = taken.get(str(root))
        if name is not None:
            _check_name(name, known, root, existing)
        elif known is None and existing.get(base := source_name(root, ())) == "":
            raise UsageError(
                f"the source {base} came with a pack; --source {base} goes on with it from {root}, another "
                f"name leaves it as it is"
            )
        called = name or known or source_name(root, {*existing, *named})
        taken[str(root)] = called
        named[called] = root
    return named


def _check_name(name: str, known: str | None, root: Path, existing: Mapping[str, str]) -> None:
    if known not in (None, name):
        raise UsageError(f"{root} is the source {known} already; leave --source out")
    former = existing.get(name, str(root))
    if former not in ("", str(root)) and Path(former).exists():
        raise UsageError(f"the source {name} is {former}, which is still there; choose another name")
