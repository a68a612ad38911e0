"""Chunks of anything: exact slices that restore their document and keep the budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from bench.standins import write_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from bpe_tokenizer import write_bpe
from chunk_checks import chunk_and_check, document
from vecloom.chunking import Chunker, context_header
from vecloom.encoders.counters import HFCounter, WordCounter, WordPieceCounter
from vecloom.errors import UsageError
from vecloom.types import Kind, Part, TokenCounter

WORDS = WordCounter()

FORMATS: dict[str, tuple[Kind, str]] = {
    "python": ("code", "class A:\n    @p\n    def f(self, x):\n        return {'a': 1}\n# c\nimport os\n"),
    "tsx": ("code", "export const f = () => { return <div>{a}</div>; }\n/* c */ class A { m() {} }\n"),
    "rust": ("code", "#[a]\nimpl A for B {\n  fn f(&self) -> u8 { 1 }\n}\nmod q;\n// c\n"),
    "c": ("code", "#ifdef A\nint f(void) {\n  return 0;\n}\n#endif\nstruct s { int a; };\n"),
    "haskell": ("code", "module A where\nf :: Int\nf = case x of\n  1 -> 2\n"),
    "bash": ("code", "f() {\n  cat <<EOF\nx\nEOF\n}\nif a; then b; fi\n"),
    "markdown": (
        "prose",
        "---\na: 1\n---\n# One\ntext\n\n```py\ncode\n```\n- a\n  - b\n\n|a|b|\n|-|-|\nT\n===\n",
    ),
    "rst": ("prose", "Title\n=====\n\ntext::\n\n  code\n\n.. note:: a\n   b\n\n* item\n\nSub\n---\n"),
    "html": ("prose", "<h1>T</h1>\n<div><p>a</p>\n<script>var a;</script></div>\n<h2>U</h2>\n"),
    "text": ("prose", "one two\nthree\n\n  four\n\n\n"),
    "json": ("data", '{"a": [1, 2,\n {"b": null}],\n "c": "d"}\n'),
    "yaml": ("data", "a:\n  - b: 1\n    c: |\n      text\n# n\n---\nd: {e: f}\n"),
    "toml": ("data", "[a.b]\nc = 1\n[[d]]\ne = 'x'\n"),
    "sql": ("code", "CREATE TABLE t (a INT,\n b TEXT);\nSELECT 1\nFROM t;\n"),
    "css": ("code", "a:hover { color: red; }\n@media x {\n b { c: d }\n}\n"),
    "no-such-language": ("code", "begin\n  x\n\nend\n"),
}
ODD = st.text(st.sampled_from("ab_ .,;(){}[]<>#*'\"`|:-=\n\r\t\x0c\x00é中\u0301\u200d😀"), max_size=40)


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, Kind, str]:
    """A text of one format: its sample's lines in any order, nested, repeated, with junk between them."""
    language = draw(st.sampled_from(sorted(FORMATS)))
    kind, sample = FORMATS[language]
    pieces = st.one_of(st.sampled_from([sample, *sample.splitlines(keepends=True)]), ODD)
    return "".join(draw(st.lists(pieces, max_size=30))), kind, language


@pytest.fixture(scope="module")
def counters(tmp_path_factory: pytest.TempPathFactory) -> list[TokenCounter]:
    folder = tmp_path_factory.mktemp("tokenizers")
    write_tokenizer(folder)
    wordpiece = WordPieceCounter(folder / "tokenizer.json")
    return [WORDS, wordpiece, HFCounter(write_bpe(tmp_path_factory.mktemp("bpe")))]


@settings(max_examples=300, deadline=None)
@given(
    text=texts(), which=st.integers(0, 2), budget=st.integers(32, 90), overlap=st.sampled_from([0, 0, 7, 16])
)
def test_any_document_is_restored_from_chunks_within_the_budget(
    counters: list[TokenCounter], text: tuple[str, Kind, str], which: int, budget: int, overlap: int
) -> None:
    content, kind, language = text
    doc = document(content, language, kind, path="a/very/long/path/to/some/module_name.ext", title="T t")
    chunked = chunk_and_check(doc, counters[which], budget, overlap)
    assert Chunker(counters[which], budget, overlap).chunk(doc) == chunked


@settings(max_examples=60, deadline=None)
@given(cells=st.lists(texts(), max_size=6), which=st.integers(0, 2))
def test_a_notebook_is_restored_from_its_chunks(
    counters: list[TokenCounter], cells: list[tuple[str, Kind, str]], which: int
) -> None:
    parts: list[Part] = []
    start = 0
    for number, (text, kind, language) in enumerate(cells, 1):
        end = start + len(text) + 1
        parts.append(Part(f"cell {number}", start, end, kind, language))
        start = end
    whole = "".join(text + "\n" for text, _, _ in cells)
    chunk_and_check(document(whole, "python", "notebook", parts=tuple(parts)), counters[which], 40)


def test_an_empty_document_has_no_chunks() -> None:
    assert Chunker(WORDS, 64).chunk(document("", "python")).chunks == ()


def test_white_space_alone_is_kept_in_one_chunk() -> None:
    chunked = chunk_and_check(document(" \n\n\t\n" * 50, "python"), WORDS, 64)
    assert len(chunked.chunks) == 1


def test_blank_lines_never_make_a_chunk_of_their_own() -> None:
    paragraph = "word " * 30 + "\n" + "\n" * 200
    chunked = chunk_and_check(document("\n" * 100 + paragraph * 20, "text", "prose"), WORDS, 64)
    assert all(chunk.text.strip() for chunk in chunked.chunks)


@pytest.mark.parametrize(
    ("budget", "overlap", "said"),
    [(31, 0, "31 tokens are too small"), (64, 33, "33 tokens"), (64, -1, "-1 tokens")],
)
def test_a_budget_or_overlap_that_cannot_serve_is_refused(budget: int, overlap: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Chunker(WORDS, budget, overlap)


def test_overlap_repeats_whole_lines_of_the_chunk_before() -> None:
    lines = [f"line {number} of the text\n" for number in range(100)]
    chunked = chunk_and_check(document("".join(lines), "text", "prose"), WORDS, 64, overlap=12)
    for before, after in zip(chunked.chunks, chunked.chunks[1:], strict=False):
        assert after.start_line == before.end_line - 1
        assert before.text.endswith("".join(lines[after.start_line - 1 : before.end_line]))


def test_chunks_are_well_filled() -> None:
    text = "".join(f"def f{n}(a):\n    b = a + {n}\n    return b\n\n\n" for n in range(300))
    chunked = chunk_and_check(document(text, "python"), WORDS, 128)
    sizes = WORDS.counts([chunk.text for chunk in chunked.chunks])
    assert sum(sizes) / len(sizes) > 100
    assert sum(size < 32 for size in sizes) <= 1


def test_an_edit_changes_only_the_chunks_beside_it() -> None:
    functions = [f"def f{n}(a):\n" + f"    b = call(a, {n})\n" * (n % 7 + 2) + "\n\n" for n in range(200)]
    before = Chunker(WORDS, 64).chunk(document("".join(functions), "python")).chunks
    functions[100] = functions[100].replace(" = ", " = new + ")
    after = Chunker(WORDS, 64).chunk(document("".join(functions), "python")).chunks
    assert len({chunk.text for chunk in after} - {chunk.text for chunk in before}) <= 3


LONG_LINES = {
    "words": "word, " * 20_000,
    "letters": "x" * 200_000,
    "json": json.dumps([{"key": n, "value": [n, str(n)]} for n in range(20_000)]),
    "carriage returns": "some words here\r" * 10_000,
    "script": "var a=function(b){return b+1};" * 10_000,
    "han": "数据检索" * 20_000,
    "nothing": "\x00" * 100_000,
}


@pytest.mark.parametrize("name", sorted(LONG_LINES))
@pytest.mark.parametrize("language", ["javascript", "json", "markdown", "python", "text"])
def test_a_line_far_over_the_budget_is_cut(minilm_folder: Path, name: str, language: str) -> None:
    counter = WordPieceCounter(minilm_folder / "tokenizer.json")
    text = f"first\n{LONG_LINES[name]}\nlast\n"
    chunked = chunk_and_check(document(text, language), counter, 256)
    sizes = counter.counts([chunk.text for chunk in chunked.chunks])
    assert sum(size < 32 for size in sizes) <= 2


def test_a_cut_within_a_line_keeps_joined_characters_together() -> None:
    family = "👩\u200d👩\u200d👧"
    text = ("e\u0301" + family + "☝\U0001f3fd") * 400
    chunked = chunk_and_check(document(text, "text", "prose"), _Characters(), 64)
    for chunk in chunked.chunks:
        assert chunk.text[0] in "e👩☝"
        assert not chunk.text.endswith("\u200d")


class _Characters:
    """One token a character."""

    specials = 0
    additive = True

    def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]


DEEP = {
    "python": "x = " + "(" * 50_000 + ")" * 50_000,
    "json": "[" * 100_000 + "]" * 100_000,
    "javascript": "{" * 50_000,
    "html": "<div>\n" * 2_000,
    "yaml": "".join(" " * n + "a:\n" for n in range(700)) + "- " * 5_000,
    "markdown": "> " * 20_000 + "\n" + "".join("  " * n + "- a\n" for n in range(400)),
    "c": "#if A\n" * 3_000 + "int a;\n" + "#endif\n" * 3_000,
    "cpp": 'extern "C" {\n' * 3_000 + "template <class T>\n" * 3_000,
    "typescript": "x = " * 20_000 + "function () {\n}\n" + "export declare namespace A {\n" * 3_000,
    "perl": "x = <<" + "E" * 3_000 + ";\n",
    "rst": "".join(f"{'  ' * n}* a\n\n" for n in range(500)),
}


@pytest.mark.parametrize("language", sorted(DEEP))
def test_deep_nesting_is_survived(language: str) -> None:
    chunk_and_check(document(DEEP[language], language), _Characters(), 256)


def test_many_open_blocks_on_lines_of_their_own_are_survived() -> None:
    text = "".join(f"{{ a{n} = [\n" for n in range(20_000))
    chunk_and_check(document(text, "javascript"), WORDS, 64)


def test_a_missing_grammar_is_reported_and_lines_are_used() -> None:
    chunked = chunk_and_check(document("begin\n\nend\n" * 60, "cobol"), WORDS, 64)
    assert chunked.fallback == "no grammar for 'cobol'"
    assert Chunker(WORDS, 64).chunk(document("a", None)).fallback == "the language is not known"
    assert Chunker(WORDS, 64).chunk(document("a", None, "prose")).fallback is None


def test_a_parser_that_does_not_come_to_an_end_is_stopped_and_reported() -> None:
    chunked = chunk_and_check(document("x(\n<<'a'\n" + "a.b<c" * 30_000, "cpp"), WORDS, 64)
    assert chunked.fallback is None or "gave up" in chunked.fallback


def test_headers_name_the_path_then_the_breadcrumb() -> None:
    assert context_header("a/b.py", "A > f", 256, WORDS) == "a/b.py\nA > f\n"
    assert context_header("a/b.py", "", 256, WORDS) == "a/b.py\n"
    assert context_header("", "T", 256, WORDS) == "T\n"
    assert context_header("", "", 256, WORDS) == ""


def test_headers_keep_within_a_quarter_of_the_budget_from_the_right() -> None:
    path = "/".join(f"folder{n}" for n in range(40)) + "/module.py"
    crumb = " > ".join(f"Class{n}" for n in range(40))
    header = context_header(path, crumb, 64, WORDS)
    first, second = header.splitlines()
    assert first.startswith("…/folder")
    assert first.endswith("/module.py")
    assert second.startswith("… > Class")
    assert second.endswith(" > Class39")
    assert 14 <= WORDS.counts([header])[0] <= 16


def test_a_file_name_or_symbol_longer_than_the_header_keeps_its_end() -> None:
    header = context_header("a/" + "-".join("name" for _ in range(90)) + ".py", "s", 64, WORDS)
    first, second = header.splitlines()
    assert first.startswith("…")
    assert first.endswith("-name.py")
    assert second == "s"


def test_odd_characters_of_a_path_do_not_break_the_header() -> None:
    header = context_header("a\nb/\udcff c.py", "f", 64, WORDS)
    assert header == "a b/? c.py\nf\n"


def test_titles_open_the_breadcrumb_and_paths_can_be_left_out() -> None:
    doc = document("def f():\n    return 1\n", "python", title="Title\nof it")
    [chunk] = Chunker(WORDS, 64).chunk(doc).chunks
    assert chunk.breadcrumb == "Title of it > f"
    assert chunk.header == "pkg/module.x\nTitle of it > f\n"
    assert chunk.encoded_text == chunk.header + doc.text


def test_a_chunk_is_named_after_what_holds_most_of_it() -> None:
    functions = "".join(f"    def m{n}(self):\n        return {n}\n\n" for n in range(30))
    text = f"import os\n\nclass A:\n{functions}\ndef last():\n    return 1\n"
    chunked = chunk_and_check(document(text, "python"), WORDS, 64)
    assert [chunk.breadcrumb for chunk in chunked.chunks] == ["A"] * len(chunked.chunks)
