"""A tree that changes from run to run, by a seed: edits, new, deleted, renamed, shrunk and doubled files."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

_WORDS = ("open", "connection", "retry", "running", "config", "weave", "thread", "loom", "yarn", "shuttle")


class ChangingTree:
    """Small files of code and prose below ``root``; every change comes from ``rng``."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.root = root
        self._rng = rng
        self._made = 0

    def change(self) -> None:
        """Some changes of every kind; between 20 and 40 files stay."""
        while len(self._files()) < 20 or self._rng.random() < 0.7:
            self._new()
        for act in (self._edit, self._shift, self._shrink, self._double, self._rename, self._delete):
            for _ in range(self._rng.randint(0, 2)):
                act()
        for path in self._files()[40:]:
            path.unlink()

    def _files(self) -> list[Path]:
        files = sorted(path for path in self.root.rglob("*") if path.is_file())
        self._rng.shuffle(files)
        return files

    def _path(self) -> Path:
        self._made += 1
        folder = self.root / self._rng.choice(("", "src", "src/deep", "docs"))
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"file{self._made}{self._rng.choice(('.py', '.md', '.txt'))}"

    def _piece(self, suffix: str) -> str:
        words = [self._rng.choice(_WORDS) for _ in range(self._rng.randint(8, 20))]
        if suffix == ".py":
            return f"def {'_'.join(words[:3])}({words[3]}):\n    return {' + '.join(words[4:])}\n\n\n"
        return f"## {words[0]} {words[1]}\n\n{' '.join(words)}.\n\n"

    def _new(self) -> None:
        path = self._path()
        path.write_text("".join(self._piece(path.suffix) for _ in range(self._rng.randint(1, 9))), "utf-8")

    def _edit(self) -> None:
        path = self._files()[0]
        pieces = path.read_text("utf-8").splitlines(keepends=True)
        pieces.insert(self._rng.randrange(len(pieces) + 1), self._piece(path.suffix))
        path.write_text("".join(pieces), "utf-8")

    def _shift(self) -> None:
        path = self._files()[0]
        path.write_text("\n" + path.read_text("utf-8"), "utf-8")

    def _shrink(self) -> None:
        path = self._files()[0]
        path.write_text(path.read_text("utf-8")[: self._rng.randrange(200)], "utf-8")

    def _double(self) -> None:
        """The same chunks twice in one file, or the same file twice."""
        path = self._files()[0]
        if self._rng.random() < 0.5:
            path.write_text(path.read_text("utf-8") * 2, "utf-8")
        else:
            shutil.copy(path, self._path().with_suffix(path.suffix))

    def _rename(self) -> None:
        path = self._files()[0]
        path.rename(self._path().with_suffix(path.suffix))

    def _delete(self) -> None:
        self._files()[0].unlink()
