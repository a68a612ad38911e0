"""PDF and docx: their text, what names a place in them, files made to harm, and the process that reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunk_checks import chunk_and_check
from commands import Commands
from made_documents import add_notes, element, encrypted, lines, pdf, repacked, slow_pdf, word
from reader_works import whole_reader
from vecloom.encoders.counters import WordCounter
from vecloom.errors import MissingExtraError
from vecloom.installation import describe_extra
from vecloom.pipeline import reading
from vecloom.pipeline.reading import Reader
from vecloom.sources import File, Skip, extraction, lost_parts, scan
from vecloom.sources.documents import extract
from vecloom.sources.extraction import Limits, UnreadableError
from vecloom.sources.text import extracted
from vecloom.types import Document

pytestmark = pytest.mark.usefixtures("reader_process")

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="held to on Linux")

WEAVING = pdf(
    lines("Chapter one (of two)", "The warp is set up first."),
    lines(),
    lines("The weft goes over and under.", "It is beaten with a reed."),
)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader[Document]]:
    with whole_reader() as reader:
        yield reader


def decoded(data: bytes, name: str, reader: Reader[Document]) -> Document | Skip:
    return reader.read("s", File(name, Path(name), len(data), 0, 1 << 26), data)


def document(data: bytes, name: str, reader: Reader[Document]) -> Document:
    found = decoded(data, name, reader)
    assert isinstance(found, Document), found
    return found


def reason(data: bytes, name: str, reader: Reader[Document]) -> tuple[str, str]:
    found = decoded(data, name, reader)
    assert isinstance(found, Skip), found
    return found.reason, found.detail


def markdown(fill: Callable[[Any], object], reader: Reader[Document]) -> str:
    return document(word(fill), "a.docx", reader).text


def test_a_pdf_gives_its_pages_as_parts_that_tile_the_text(reader: Reader[Document]) -> None:
    found = document(WEAVING, "a.PDF", reader)
    assert (found.kind, found.language, found.lost) == ("prose", "text", ())
    assert found.text == (
        "Chapter one (of two)\nThe warp is set up first.\n\n"
        "The weft goes over and under.\nIt is beaten with a reed."
    )
    assert [(part.label, found.text[part.start : part.end][:8]) for part in found.parts] == [
        ("page 1", "Chapter "),
        ("page 3", "The weft"),
    ]
    assert (found.parts[0].end, found.parts[-1].end) == (found.parts[1].start, len(found.text))


@pytest.mark.parametrize("budget", [32, 64, 256])
def test_the_chunks_of_a_pdf_restore_its_text_and_name_the_page(
    reader: Reader[Document], budget: int
) -> None:
    pages = [
        [f"page {page} says {word} number {line}" for line in range(12)]
        for page, word in enumerate("abcd", 1)
    ]
    found = document(pdf(*(lines(*page) for page in pages)), "docs/a.pdf", reader)
    chunks = chunk_and_check(found, WordCounter(), budget).chunks
    for chunk in chunks:
        said = [line.split()[1] for line in chunk.text.splitlines() if line]
        if len(set(said)) == 1:
            assert chunk.breadcrumb == f"page {said[0]}"
            assert chunk.header == f"docs/a.pdf\npage {said[0]}\n"
    assert len(chunks) >= 4 or budget == 256


@given(st.text(alphabet=st.characters(codec=None)))
def test_extracted_text_is_valid_and_its_lines_end_in_one_way(text: str) -> None:
    found = extracted(text)
    found.encode()
    assert not set(found) & set("\0\r\f")
    assert (
        found.replace("\ufffd", "").split()
        == extracted(text.replace("\r", " ")).replace("\ufffd", "").split()
    )


def test_line_ends_and_page_breaks_of_extracted_text() -> None:
    assert extracted("a\r\nb\rc\fd\ud800\0") == "a\nb\nc\n\nd\ufffd\ufffd"


def test_a_page_that_cannot_be_read_is_lost_and_the_others_are_not(reader: Reader[Document]) -> None:
    found = document(pdf(lines("one"), lines("two"), filters=[b"", b"Nope"]), "a.pdf", reader)
    assert found.text == "one"
    assert lost_parts(found) == [Skip("a.pdf", "broken page", "page 2: Unsupported filter /Nope")]


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-256"])
def test_a_password_is_needed_or_not(reader: Reader[Document], algorithm: str) -> None:
    closed, open_to_all = (encrypted(WEAVING, password, algorithm) for password in ("secret", ""))
    assert reason(closed, "a.pdf", reader) == ("encrypted", "it needs a password")
    assert document(open_to_all, "a.pdf", reader).text == document(WEAVING, "a.pdf", reader).text


NOTHING = word(lambda empty: None)
COMPOUND = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)


@pytest.mark.parametrize(
    ("name", "data", "skipped", "says"),
    [
        ("a.pdf", pdf(b"0 0 10 10 re f", b""), "no text", "none of its pages (2) holds text"),
        ("a.pdf", pdf(), "no text", "none of its pages (0) holds text"),
        (
            "a.pdf",
            pdf(lines("a"), filters=[b"Nope"]),
            "broken document",
            "no page can be read; page 1: Unsupp",
        ),
        ("a.pdf", b"version https://git-lfs.github.com/spec/v1\n", "broken document", "Stream has ended"),
        ("a.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 9, "broken document", ""),
        ("a.pdf", WEAVING[: len(WEAVING) // 2], "broken document", ""),
        ("a.docx", NOTHING, "empty", "no paragraph holds text"),
        ("a.docx", b"no archive", "broken document", "File is not a zip file"),
        ("a.docx", NOTHING[: len(NOTHING) // 2], "broken document", "File is not a zip file"),
        (
            "a.docx",
            repacked(NOTHING, "word/document.xml", b"<w:document>"),
            "broken document",
            "Namespace prefix",
        ),
        ("a.docx", COMPOUND, "broken document", "a file of the older format .doc"),
        ("a.docx", COMPOUND + "EncryptedPackage".encode("utf-16-le"), "encrypted", "it needs a password"),
    ],
)
def test_a_document_without_text_says_why(
    reader: Reader[Document], name: str, data: bytes, skipped: str, says: str
) -> None:
    found, detail = reason(data, name, reader)
    assert found == skipped
    assert says in detail and detail and "\n" not in detail


def test_headings_of_a_docx_are_those_of_its_chunks(reader: Reader[Document]) -> None:
    def fill(book: Any) -> None:
        book.add_heading("The loom", level=0)
        book.add_paragraph("What it is about.")
        book.add_heading("Warp", level=1)
        book.add_heading("Setting\nup", level=2)
        book.add_paragraph("Tie the threads. " * 12)
        own = book.styles.add_style("Chapter", 1)
        own.base_style = book.styles["Heading 1"]
        book.add_paragraph("Weft", style="Chapter")
        shed = book.add_paragraph("Shed")
        shed._p.get_or_add_pPr().append(element('<w:outlineLvl w:val="1"/>'))
        book.add_paragraph("Throw the shuttle. " * 12)

    found = document(word(fill), "a.docx", reader)
    assert (found.kind, found.language, found.parts) == ("prose", "markdown", ())
    assert found.text.startswith("# The loom\n\nWhat it is about.\n\n## Warp\n\n### Setting up\n\nTie the")
    assert "\n\n## Weft\n\n### Shed\n\nThrow the shuttle." in found.text
    breadcrumbs = {
        chunk.text.split()[-1]: chunk.breadcrumb for chunk in chunk_and_check(found, WordCounter(), 64).chunks
    }
    assert breadcrumbs["threads."] == "The loom > Warp > Setting up"
    assert breadcrumbs["shuttle."] == "The loom > Weft > Shed"


def test_without_a_title_headings_begin_at_the_first_level(reader: Reader[Document]) -> None:
    assert markdown(lambda book: book.add_heading("Warp", level=1), reader) == "# Warp"


def test_what_looks_like_a_heading_is_none(reader: Reader[Document]) -> None:
    def fill(book: Any) -> None:
        for text in ("# install", "```", "#hashtag", "    # code"):
            book.add_paragraph(text)

    assert markdown(fill, reader) == "\\# install\n\n\\```\n\n#hashtag\n\n    # code"


def test_lists_are_marked_and_numbered(reader: Reader[Document]) -> None:
    def fill(book: Any) -> None:
        for text in ("reed", "heddle"):
            book.add_paragraph(text, style="List Bullet")
        book.add_paragraph("In this order:")
        for text in ("warp", "weft\nand beat"):
            book.add_paragraph(text, style="List Number")
        deeper = book.add_paragraph("pick", style="List Number")
        number = (
            book.styles["List Number"]
            .element.find(".//{*}numId")
            .get("{http://schemas.openxmlformats.org/wordprocessingml/2006/main}val")
        )
        deeper._p.get_or_add_pPr().append(
            element(f'<w:numPr><w:ilvl w:val="1"/><w:numId w:val="{number}"/></w:numPr>')
        )
        book.add_paragraph("tie off", style="List Number")
        plain = book.add_paragraph("no item", style="List Number")
        plain._p.get_or_add_pPr().append(element('<w:numPr><w:numId w:val="0"/></w:numPr>'))

    text = markdown(fill, reader)
    assert text.startswith("- reed\n- heddle\n\nIn this order:\n\n1. warp\n2. weft\n  and beat\n")
    assert text.endswith("  - pick\n3. tie off\n\nno item")


def test_tables_keep_their_rows_and_frames_are_opened(reader: Reader[Document]) -> None:
    def fill(book: Any) -> None:
        table = book.add_table(rows=3, cols=2)
        said = [["Thread", "Use"], ["linen", "warp | weft"], ["two\nlines", ""]]
        for row, texts in zip(table.rows, said, strict=True):
            for cell, text in zip(row.cells, texts, strict=True):
                cell.text = text
        inner = table.cell(2, 1).add_table(rows=1, cols=2)
        inner.cell(0, 0).text, inner.cell(0, 1).text = "in", "side"
        frame = book.add_table(rows=1, cols=1).cell(0, 0)
        frame.text = "In a frame."
        frame.add_paragraph("Heading in a frame", style="Heading 1")
        wide = book.add_table(rows=1, cols=3)
        wide.cell(0, 0).merge(wide.cell(0, 1)).text = "merged"
        wide.cell(0, 2).text = "alone"

    assert markdown(fill, reader) == (
        "| Thread | Use |\n| --- | --- |\n| linen | warp \\| weft |\n| two lines | in side |\n\n"
        "In a frame.\n\n# Heading in a frame\n\n| merged | alone |\n| --- | --- |"
    )


def test_what_was_deleted_is_left_out_and_what_was_inserted_is_not(reader: Reader[Document]) -> None:
    def fill(book: Any) -> None:
        changed = book.add_paragraph("The ")._p
        changed.append(element("<w:del><w:r><w:delText>old </w:delText></w:r></w:del>"))
        changed.append(element("<w:moveFrom><w:r><w:t>moved </w:t></w:r></w:moveFrom>"))
        changed.append(element('<w:ins><w:r><w:t xml:space="preserve">new </w:t></w:r></w:ins>'))
        changed.append(element('<w:hyperlink w:anchor="x"><w:r><w:t>loom</w:t></w:r></w:hyperlink>'))
        changed.append(element("<w:r><w:instrText>PAGE</w:instrText><w:tab/><w:noBreakHyphen/></w:r>"))
        control = "<w:sdt><w:sdtContent><w:p><w:r><w:t>In a control.</w:t></w:r></w:p></w:sdtContent></w:sdt>"
        changed.addnext(element(control))

    assert markdown(fill, reader) == "The new loom\t-\n\nIn a control."


def test_a_text_box_is_read_once(reader: Reader[Document]) -> None:
    compatible = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    box = "<w:txbxContent><w:p><w:r><w:t>In a box.</w:t></w:r></w:p></w:txbxContent>"

    def fill(book: Any) -> None:
        run = book.add_paragraph("Beside it.")._p
        run.append(
            element(
                f'<w:r><mc:AlternateContent xmlns:mc="{compatible}"><mc:Choice>{box}</mc:Choice>'
                f"<mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r>"
            )
        )

    assert markdown(fill, reader) == "Beside it.\nIn a box."


def test_notes_stand_behind_the_paragraph_that_refers_to_them(reader: Reader[Document]) -> None:
    def fill(book: Any) -> None:
        add_notes(book, "footnote", {"2": "Of linen.", "3": "Not cited."})
        add_notes(book, "endnote", {"2": "Of wool."})
        first = book.add_paragraph("The warp")._p
        first.append(element('<w:r><w:endnoteReference w:id="2"/><w:footnoteReference w:id="2"/></w:r>'))
        book.add_paragraph("The weft.")

    assert markdown(fill, reader) == ("The warp[^1][^2]\n\n[^1]: Of wool.\n\n[^2]: Of linen.\n\nThe weft.")


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    reader: Reader[Document],
) -> None:
    bomb = repacked(NOTHING, "word/document.xml", b" " * (300 << 20))
    assert len(bomb) < 1 << 19
    started = time.monotonic()
    found, detail = reason(bomb, "a.docx", reader)
    assert found == "too large" and "the cap is 268,435,456" in detail
    assert time.monotonic() - started < 5


def test_entities_are_not_expanded(reader: Reader[Document]) -> None:
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 30))
    body = "<w:body><w:p><w:r><w:t>&a29;</w:t></w:r></w:p></w:body>"
    xml = (
        f'<!DOCTYPE w:document [<!ENTITY a0 "ha">{laughs}]>'
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
        f"{body}</w:document>"
    )
    found, _ = reason(repacked(NOTHING, "word/document.xml", xml.encode()), "a.docx", reader)
    assert found in ("broken document", "empty")


@pytest.mark.parametrize(
    ("suffix", "data"),
    [(".pdf", pdf(*[lines("a" * 600)] * 2)), (".docx", word(lambda book: book.add_paragraph("a" * 1200)))],
)
def test_more_text_than_may_come_out_is_refused(suffix: str, data: bytes) -> None:
    said = "holds more than 1,000 characters of text"
    with pytest.raises(UnreadableError, match=said) as refused:
        extract(suffix, data, Limits(text=1000))
    assert refused.value.reason == "too large"


def test_one_process_reads_many_files_and_ends_when_it_is_closed() -> None:
    reader = whole_reader()
    pids = [reader.pid]
    a_docx = word(lambda book: book.add_paragraph("a"))
    for name, data in (("a.pdf", WEAVING), ("a.pdf", b"broken"), ("a.docx", a_docx), ("a.pdf", WEAVING)):
        decoded(data, name, reader)
        pids.append(reader.pid)
    reader.close()
    assert pids[0] is None and pids[1] is not None and len(set(pids[1:])) == 1
    assert reader.pid is None and gone(pids[1])


def test_a_file_that_takes_too_long_is_given_up_and_the_next_one_is_read() -> None:
    limits = Limits(seconds=0.5, seconds_per_mib=0)
    started = time.monotonic()
    with whole_reader(limits) as reader:
        assert reason(slow_pdf(100), "a.pdf", reader) == ("too heavy", "its reader took longer than 0.5 s")
        assert time.monotonic() - started < 5
        assert document(WEAVING, "a.pdf", reader).text


@linux
def test_a_file_that_takes_too_much_memory_is_given_up_and_the_next_one_is_read() -> None:
    xml = b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
    large = repacked(NOTHING, "word/document.xml", xml + b"<w:p/>" * 10_000_000 + b"</w:body></w:document>")
    with whole_reader(Limits(memory=200 << 20)) as reader:
        assert reason(large, "a.docx", reader) == (
            "too heavy",
            "its reader took more than 200 MiB of memory",
        )
        assert document(WEAVING, "a.pdf", reader).text


def soon(pid_of: Callable[[], int | None], times: int = 1) -> threading.Thread:
    """Kills the process that ``pid_of`` names soon after it is there, and so often its successors."""

    def kill() -> None:
        killed: set[int | None] = {None}
        while len(killed) <= times:
            pid = pid_of()
            if pid not in killed and pid is not None:
                time.sleep(0.2)
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@posix
def test_a_reader_that_is_killed_is_replaced_and_the_file_is_read_again() -> None:
    data = slow_pdf(8)
    with whole_reader() as reader:
        thread = soon(lambda: reader.pid)
        found = document(data, "a.pdf", reader)
        thread.join()
        assert len(found.parts) == 8 and found.lost == ()


@posix
def test_a_file_whose_reader_dies_twice_is_skipped() -> None:
    with whole_reader() as reader:
        thread = soon(lambda: reader.pid, times=2)
        assert reason(slow_pdf(8), "a.pdf", reader) == (
            "broken document",
            "its reader died (signal SIGKILL)",
        )
        thread.join()
        assert document(WEAVING, "a.pdf", reader).text


class InterruptedBySignalError(BaseException):
    """What a handler of a signal may raise while the next test waits for an answer."""


def test_an_interrupted_question_does_not_spoil_the_next_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_process: object) -> bytes:
        raise InterruptedBySignalError

    with whole_reader() as reader:
        assert reason(b"broken", "a.pdf", reader)  # it runs, and has answered
        pid = reader.pid
        with monkeypatch.context() as patch:
            patch.setattr(reading._Process, "answer", interrupt)
            with pytest.raises(InterruptedBySignalError):
                decoded(slow_pdf(8), "a.pdf", reader)
        assert reader.pid is None and gone(pid)
        assert document(WEAVING, "a.pdf", reader).text.startswith("Chapter one")


def gone(pid: int | None) -> bool:
    """Whether there is no such process any more (a zombie is none)."""
    if sys.platform != "linux" or pid is None:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


ORPHAN = """
import sys
from pathlib import Path
from vecloom.pipeline.reading import ChunkSettings, chunk_reader
from vecloom.sources import File
def read(name):
    data = Path(name).read_bytes()
    return reader.read("s", File(name, Path(name), len(data), 0, 1 << 26), data)
reader = chunk_reader(ChunkSettings((), 64))
read(sys.argv[1])
print(reader.pid, flush=True)
read(sys.argv[2])
"""


@linux
def test_the_reader_does_not_outlive_who_started_it(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(WEAVING)
    (tmp_path / "slow.pdf").write_bytes(slow_pdf(100))
    command = [sys.executable, "-c", ORPHAN, str(tmp_path / "a.pdf"), str(tmp_path / "slow.pdf")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.3)  # it reads the slow one now
        assert not gone(pid)
        parent.kill()
    deadline = time.monotonic() + 5
    while not gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_documents_have_a_cap_of_their_own(tmp_path: Path) -> None:
    for name in ("a.pdf", "b.docx"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2 << 20)
    (tmp_path / "c.pdf").touch()
    with (tmp_path / "d.pdf").open("wb") as file:
        file.truncate((64 << 20) + 1)
    found = [(item.path, "" if isinstance(item, File) else item.reason) for item in scan(tmp_path)]
    assert found == [("a.pdf", ""), ("b.docx", ""), ("c.pdf", "empty"), ("d.pdf", "too large")]


def many_pages() -> bytes:
    """A PDF of three pages, each larger than half a chunk."""
    filler = [
        [f"{word} is what line {line} of this page says" for line in range(40)] for word in ("a", "b", "c")
    ]
    filler[1][20] = "Quills carry bobbins through sheds"
    return pdf(*(lines(*page) for page in filler))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "manual.pdf").write_bytes(many_pages())
    (root / "guide.docx").write_bytes(
        word(lambda book: (book.add_heading("Treadles", level=1), book.add_paragraph("Press the left one.")))
    )
    (root / "note.txt").write_text("Nothing of that.\n", "utf-8")
    return root


def test_pages_and_headings_are_found(tree: Path, tmp_path: Path, tiny_environ: dict[str, str]) -> None:
    vecloom = Commands(tiny_environ, tmp_path)
    (tree / "broken.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 9)
    done = vecloom.run("index", tree, "--index", "index", "--strict")
    assert done.returncode == 1 and "3 files (0 unchanged" in done.stderr, done
    assert "skipped: 1 broken document (--verbose lists them)" in done.stderr
    said = [line for line in done.stderr.splitlines() if "replaces the built-in row" not in line]
    assert not [line for line in said if "EOF" in line or "header" in line or "Traceback" in line], said
    search = ("search", "--index", "index", "--using", "bm25", "--json", "--limit", "1")
    for query, path, breadcrumb in (
        ("quills carry bobbins", "manual.pdf", "page 2"),
        ("press the left", "guide.docx", "Treadles"),
    ):
        hit = json.loads(vecloom.run(*search, query).stdout)
        assert (hit["path"], hit["breadcrumb"]) == (path, breadcrumb)
        assert query in hit["text"].lower()
    again = vecloom.run("index", tree, "--index", "index")
    assert again.returncode == 0 and "3 files (3 unchanged" in again.stderr
    chunked = vecloom.run("chunk", tree)
    records = [json.loads(line) for line in chunked.stdout.splitlines()]
    text = "".join(record["text"] for record in records if record["path"] == "manual.pdf")
    assert text.startswith("a is what line 0") and text.endswith("c is what line 39 of this page says")
    assert "skipped: 1 broken document" in chunked.stderr


def test_without_the_extra_documents_are_skipped_and_what_is_stored_of_them_stays(
    tree: Path,
    tmp_path: Path,
    tiny_environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from vecloom.cli import run

    for name, value in tiny_environ.items():
        monkeypatch.setenv(name, value)
    index = str(tmp_path / "index")
    assert run(["index", str(tree), "--index", index]) == 0
    (tree / "manual.pdf").write_bytes(many_pages() + b"% another\n")
    monkeypatch.setattr(extraction, "find_spec", lambda module: None)
    for _ in range(2):
        capsys.readouterr()
        assert run(["index", str(tree), "--index", index, "--strict"]) == 0
        said = capsys.readouterr().err
        assert "1 files (1 unchanged, 0 gone)" in said
        assert "skipped: 2 missing extra (--verbose lists them)" in said
        assert said.count(str(MissingExtraError("reading PDF and docx", "documents"))) == 1
    assert run(["search", "quills", "--index", index, "--json", "--limit", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == "manual.pdf"
    assert run(["chunk", str(tree / "guide.docx")]) == 0
    said = capsys.readouterr().err
    assert "0 files, 0 chunks; skipped: 1 missing extra" in said and describe_extra("documents") in said
