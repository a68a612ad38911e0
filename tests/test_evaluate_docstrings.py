"""A tree that judges itself: what becomes a query, and that nothing of it is left in what is searched."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from judged_files import make_tree
from stored import contents
from vecloom.config import Config
from vecloom.encoders.backends import How
from vecloom.errors import JudgmentsError, UsageError
from vecloom.evaluate.assessing import Assessor, Settings, Subject
from vecloom.evaluate.docstrings import indexed, mined_tree, recipe_of
from vecloom.evaluate.mining import mine, without
from vecloom.evaluate.sentences import asks, first_sentence, flattened
from vecloom.index import Index
from vecloom.recipe import Asked
from vecloom.types import Document, Kind

PYTHON = '''"""The module's own words are no definition's."""


class Loom:
    """Weaves coloured threads into cloth. The rest is
    not asked for.
    """

    def stop(self): """Halts every shuttle that still moves.

        Args:
            none
        """

    @property
    def speed(self):
        r"""Rows which are woven in one minute, e.g. twelve for wool!"""
        return 12

    def weave_thread(self, thread):
        """Weave the thread."""

        def inner():
            """Nobody asks about what is inside of functions."""


class SnappedError(Exception):
    """The warp broke under too much tension."""


def repeated():
    """These words are said in two places."""


def again():
    """These words are said in two places."""


def elsewhere():
    """How the dyer fixes colours with alum."""
'''
GO = """// Package loom is a package comment.
package loom

// Weave crosses warp and weft until the cloth is done.
// More about it.
func Weave(n int) error {
\treturn nil
}

/*
 * Holds the patterns that a pedal can lift.
 */
type Pattern struct {
\tname string // trailing words of a field here
}

// Words that stand apart from what comes after them

func Dye() {}
"""
RUST = """/// Spins raw wool until a single yarn remains.
///
/// # Errors
#[must_use]
pub fn spin(wool: u32) -> u32 {
    wool
}
"""
TYPESCRIPT = """/**
 * Washes the finished cloth in {@link River} water.
 * @param cloth what to wash
 */
export function wash(cloth: string): string {
  return cloth;
}
"""
GUIDE = """# Guide

Some words.

## How to mend a torn selvedge

Sew along the edge.

```sh
# how to do nothing at all
```

What a shuttle race is for
--------------------------

It carries the shuttle.

## Nothing stands below this one

## Why

The dyer says: *how the dyer fixes colours with alum*, and more.
"""
FILES = {
    "src/loom.py": PYTHON,
    "src/loom.go": GO,
    "src/spin.rs": RUST,
    "web/wash.ts": TYPESCRIPT,
    "guide.md": GUIDE,
}


def document(text: str, kind: Kind, language: str, path: str = "x") -> Document:
    return Document("tree", path, text, kind, language, hashlib.sha256(text.encode()).hexdigest())


def mined(text: str, kind: Kind, language: str) -> dict[str, str]:
    """Query -> the lines of its answer, as they are when it is cut out."""
    found = mine(document(text, kind, language))
    lines = without(text.encode(), found).decode().split("\n")
    assert len(lines) == text.count("\n") + 1
    return {one.text: "\n".join(lines[one.start - 1 : one.end]) for one in found}


def test_docstrings_of_python() -> None:
    found = mined(PYTHON, "code", "python")
    assert (
        list(found)
        == [
            "Weaves coloured threads into cloth",
            "Halts every shuttle that still moves",
            "Rows which are woven in one minute, e.g. twelve for wool",
            "The warp broke under too much tension",
            "These words are said in two places",
            "How the dyer fixes colours with alum",
        ]
        or list(found) == []
    )
    assert found["Rows which are woven in one minute, e.g. twelve for wool"] == (
        "    @property\n    def speed(self):\n        \n        return 12"
    )
    assert found["The warp broke under too much tension"] == "class SnappedError(Exception):\n    ..."
    assert found["Weaves coloured threads into cloth"].startswith(
        "class Loom:\n    \n\n\n\n    def stop(self): ...\n"
    )


def test_comments_before_definitions_of_other_languages() -> None:
    assert mined(GO, "code", "go") == {
        "crosses warp and weft until the cloth is done": "func Weave(n int) error {\n\treturn nil\n}",
        "Holds the patterns that a pedal can lift": GO[GO.index("type Pattern") : GO.index("\n\n// Words")],
    }
    assert mined(RUST, "code", "rust") == {
        "Spins raw wool until a single yarn remains": RUST[RUST.index("pub fn") :].rstrip()
    }
    assert mined(TYPESCRIPT, "code", "typescript") == {
        "Washes the finished cloth in River water": TYPESCRIPT[TYPESCRIPT.index("export") :].rstrip()
    }


def test_headings_of_markdown() -> None:
    assert mined(GUIDE, "prose", "markdown") == {
        "How to mend a torn selvedge": "Sew along the edge.\n\n```sh\n# how to do nothing at all\n```",
        "What a shuttle race is for": "It carries the shuttle.",
    }


def test_what_is_cut_keeps_its_lines_whatever_ends_them() -> None:
    for text, language in ((PYTHON, "python"), (GO, "go")):
        windows = text.replace("\n", "\r\n")
        one, other = (mine(document(each, "code", language)) for each in (text, windows))
        assert [(m.text, m.start, m.end) for m in one] == [(m.text, m.start, m.end) for m in other]
        assert without(windows.encode(), other).replace(b"\r\n", b"\n") == without(text.encode(), one)


def test_syntax_that_cannot_be_read_has_no_queries() -> None:
    assert mine(document("x", "code", "no such language")) == []
    assert mine(document("\x00\x01", "code", "python")) == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Reads it, e.g. from a file. Then more.", "Reads it, e.g. from a file"),
        ("First line\ngoes on here.\n\nSecond.", "First line goes on here"),
        ("Does it\nArgs:\n    x: y", "Does it"),
        ("Does it\n@param x y", "Does it"),
        ("Uses :class:`Loom` and ``warp``", "Uses Loom and warp"),
        ("", ""),
        ("   \n", ""),
    ],
)
def test_a_first_sentence(text: str, wanted: str) -> None:
    assert first_sentence(text) == wanted


@pytest.mark.parametrize(
    ("sentence", "names", "wanted"),
    [
        ("Weave threads into cloth", ["Loom", "weave"], True),
        ("Weave into cloth", ["weave"], False),
        ("Returns the parsed HTTP date", ["parsedHTTPDate"], False),
        ("Returns the parsed HTTP date", ["date"], True),
        ("Gets the max tokens", ["ModelSpec", "max_token"], False),
        (" ".join(["word"] * 26), ["x"], False),
        ("Copyright 2026 by the authors of this", ["x"], False),
        ("TODO: make it quicker than it is", ["x"], False),
        ("return x == y && z != w", ["x"], False),
    ],
)
def test_what_asks_for_something(sentence: str, names: list[str], wanted: bool) -> None:
    assert asks(sentence, names) is wanted


def test_no_query_stands_in_what_is_embedded(tmp_path: Path, tiny_config: Config) -> None:
    root = make_tree(tmp_path / "tree", FILES)
    (root / ".gitignore").write_text("ignored.py\n")
    (root / "ignored.py").write_text('def f():\n    """Words that nobody indexes at all."""\n')
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with mined_tree([root]) as tree, indexed(tree, Asked(), config=tiny_config) as index:
        texts = [query.text for query in tree.judged.queries]
        embedded = [flattened(str(p["header"]) + str(p["text"])) for p, _ in contents(index).values()]
        files = index.files()
    assert sorted(texts) == sorted(
        [
            "Weaves coloured threads into cloth",
            "Halts every shuttle that still moves",
            "Rows which are woven in one minute, e.g. twelve for wool",
            "The warp broke under too much tension",
            "crosses warp and weft until the cloth is done",
            "Holds the patterns that a pedal can lift",
            "Spins raw wool until a single yarn remains",
            "Washes the finished cloth in River water",
            "How to mend a torn selvedge",
            "What a shuttle race is for",
        ]
    )
    assert len(embedded) >= len(FILES)
    for text in texts:
        assert not any(flattened(text) in one for one in embedded), text
    told = {one.key: one.count for one in tree.judged.problems}
    assert told == {"texts_said_elsewhere": 3}, "two that are equal, and one that the guide quotes"
    assert {path for _, path in files} >= set(FILES) and ("tree", "ignored.py") not in files
    for query in tree.judged.queries:
        (target,) = query.targets
        assert target.end is not None and target.end <= files["tree", target.path][1]
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert not any(root.exists() for root in tree.roots.values())


def test_queries_are_spread_over_files_and_drawn_alike(tmp_path: Path) -> None:
    files = {
        f"part{n}.py": "".join(
            f'def f{i}():\n    """The {n} thing number {i} does something of its own."""\n' for i in range(9)
        )
        for n in ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
    }
    root = make_tree(tmp_path / "tree", files)
    drawn = []
    for _ in range(2):
        with mined_tree([root], most=12) as tree:
            drawn.append(tree.judged.queries)
    assert drawn[0] == drawn[1]
    counted = Counter(query.targets[0].path for query in drawn[0])
    assert set(counted) == set(files) and sorted(counted.values()) == [1] * 4 + [2] * 4


def test_a_tree_without_words_and_one_of_records(tmp_path: Path) -> None:
    with (
        pytest.raises(JudgmentsError, match="could be a query"),
        mined_tree([make_tree(tmp_path / "tree", {"a.py": "x = 1\n"})]),
    ):
        pass
    records = tmp_path / "corpus.jsonl"
    records.write_text('{"_id": "1", "text": "words"}\n')
    with pytest.raises(UsageError, match="records"), mined_tree([records]):
        pass


def test_a_tree_is_indexed_as_the_index_was(tmp_path: Path, tiny_config: Config) -> None:
    root = make_tree(tmp_path / "tree", FILES)
    models = ["qdrant-bm25", "qdrant-minilm-onnx"]
    how = How(device="cpu")
    with Index.create(
        root / "index", models, chunk_tokens=64, overlap=8, how=how, avg_len=50, config=tiny_config
    ) as index:
        index.add(root)
        asked = recipe_of(index)
        wanted = contents(index)
    assert (asked.models, asked.chunk_tokens, asked.overlap) == (tuple(models), 64, 8)
    assert asked.avg_len == {"bm25": 50.0}
    assessor = Assessor(Settings(device="cpu"), tiny_config)
    (made,) = assessor.by_docstrings([Subject(str(root / "index"))], None)
    assert made.files == len(FILES)
    assert made.chunk_tokens == 64 and list(made.models) == models
    assert [run.name for run in made.runs][:2] == ["bm25", "qdrant-minilm"]
    assert made.judged.notes and "made as" in made.place
    with Index.open(root / "index", config=tiny_config) as index:
        assert contents(index) == wanted


def test_two_recipes_over_one_tree(tmp_path: Path, tiny_config: Config) -> None:
    root = make_tree(tmp_path / "tree", FILES)
    subjects = []
    for tokens in (64, 128):
        with Index.create(tmp_path / f"{tokens}", ["qdrant-bm25"], chunk_tokens=tokens, config=tiny_config):
            subjects.append(Subject(str(tmp_path / f"{tokens}")))
    made = Assessor(Settings(), tiny_config).by_docstrings(subjects, root)
    assert [one.chunk_tokens for one in made] == [64, 128]
    assert made[0].judged == made[1].judged
    assert [run.name for one in made for run in one.runs] == ["fused", "fused"]
    with pytest.raises(UsageError, match="holds no tree"):
        Assessor(Settings(), tiny_config).by_docstrings(subjects, None)


def test_a_source_whose_root_is_gone(tmp_path: Path, tiny_config: Config) -> None:
    files: Mapping[str, str] = {"a.py": PYTHON}
    root = make_tree(tmp_path / "tree", files)
    with Index.create(tmp_path / "index", ["qdrant-bm25"], config=tiny_config) as index:
        index.add(root)
    root.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match=r"tree is gone.*--from-docstrings"):
        Assessor(Settings(), tiny_config).by_docstrings([Subject(str(tmp_path / "index"))], None)
