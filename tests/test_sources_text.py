"""Bytes to documents: encodings, binaries, languages, notebooks, and what the contents tell."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import semble_grammars
from hypothesis import given
from hypothesis import strategies as st

from vecloom.sources import File, ScanOptions, Skip, decode, digest
from vecloom.sources.languages import LANGUAGES, language_of, language_of_name, named_language
from vecloom.types import Document

FRENCH = "Le café était fermé à Noël.\n" * 4
RUSSIAN = "Съешь ещё этих мягких французских булок\n"


def decoded(data: bytes, name: str = "a.txt", **more: Any) -> Document | Skip:
    options = more.pop("options", ScanOptions())
    return decode("s", File(name, Path(name), len(data), 0, 1 << 20, **more), data, options)


def document(data: bytes, name: str = "a.txt", **more: Any) -> Document:
    found = decoded(data, name, **more)
    assert isinstance(found, Document), found
    return found


def skip(data: bytes, name: str = "a.txt", **more: Any) -> Skip:
    found = decoded(data, name, **more)
    assert isinstance(found, Skip), found
    return found


def test_a_document_says_where_it_is_from_and_what_its_bytes_are() -> None:
    data = b"def f():\r\n    return 1\r\n"
    found = document(data, "a.py")
    assert found == Document("s", "a.py", data.decode(), "code", "python", hashlib.sha256(data).hexdigest())
    assert found.hash == digest(data)


@given(st.text().filter(lambda text: text.strip() and "\0" not in text and "-----BEGIN" not in text))
def test_utf8_text_is_kept_as_it_is(text: str) -> None:
    found = decoded(text.encode())
    if isinstance(found, Skip):
        assert found.reason == "binary"
        assert sum(ord(char) < 32 or char == "\x7f" for char in text) > 0.02 * len(text)
    else:
        assert found.text == text.removeprefix("\ufeff")
        assert found.encoding == "utf-8"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@given(
    text=st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1).filter(
        str.strip
    )
)
def test_wide_encodings_are_known_by_their_marks(encoding: str, text: str) -> None:
    found = document(("\ufeff" + text).encode(encoding))
    assert (found.text, found.encoding) == (text, encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_known_by_its_zeros(encoding: str) -> None:
    text = 'name = "Größe"\r\nother = 1\r\n'
    found = document(text.encode(encoding), "a.ini")
    assert (found.text, found.encoding) == (text, encoding)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"text \0 text", "binary"),
        (bytes(range(256)) * 8, "binary"),
        (b"\x7fELF\x02\x01\x01" + b"\0" * 40, "binary"),
        (b"\x01\x02\x03 a few words", "binary"),
        (b"".join(bytes([i, 0]) for i in range(1, 30)), "binary"),
        (b"\xff\xfe" + b"\1\0" * 40, "binary"),
        (b"\xff\xfea\0b", "encoding"),
        (b"\xff\xfe" + b"\x00\xd8" * 4, "encoding"),
        (RUSSIAN.encode("cp1251"), "encoding"),
        ("日本語の文章です。\n".encode("shift_jis"), "encoding"),
        (b" \n\t\r\n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
    ],
)
def test_what_is_no_text_is_skipped(data: bytes, reason: str) -> None:
    assert skip(data).reason == reason


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (FRENCH.encode("cp1252"), FRENCH, "cp1252"),
        ("“quoted” – 5 €\n".encode("cp1252") + b"x" * 40, "“quoted” – 5 €\n" + "x" * 40, "cp1252"),
        (b"a plain line\n" * 5 + b"\x81\n", "a plain line\n" * 5 + "\x81\n", "latin-1"),
        (FRENCH.encode() + b"\xe9\n", FRENCH + "\ufffd\n", "utf-8 with bad bytes replaced"),
        (
            b"# -*- coding: koi8-r -*-\n" + RUSSIAN.encode("koi8-r"),
            "# -*- coding: koi8-r -*-\n" + RUSSIAN,
            "koi8-r",
        ),
        (
            b'<?xml version="1.0" encoding="windows-1251"?>' + RUSSIAN.encode("cp1251"),
            '<?xml version="1.0" encoding="windows-1251"?>' + RUSSIAN,
            "cp1251",
        ),
        (
            b"# coding: unicode_escape\n" + FRENCH.encode("cp1252"),
            "# coding: unicode_escape\n" + FRENCH,
            "cp1252",
        ),
        (b"# coding: no-such\n" + FRENCH.encode("cp1252"), "# coding: no-such\n" + FRENCH, "cp1252"),
        (b"\x1b[31mred\x1b[0m and plain text\n", "\x1b[31mred\x1b[0m and plain text\n", "utf-8"),
    ],
)
def test_other_encodings_are_declared_or_guessed_and_told(data: bytes, text: str, encoding: str) -> None:
    found = document(data)
    assert (found.text, found.encoding) == (text, encoding)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_skip_or_a_document_that_utf8_can_spell(data: bytes) -> None:
    for name in ("a.py", "a.ipynb", "a.unknown"):
        found = decoded(data, name)
        if isinstance(found, Document):
            found.text.encode()
            assert "\0" not in found.text


def test_a_line_of_twenty_thousand_tokens_is_indexed() -> None:
    line = "values = [" + "12345, " * 20_000 + "]\n"
    normal = "".join(f"def f{i}():\n    return {i}\n" for i in range(20))
    for name in ("a.py", "a.js", "a.txt", "a.css"):
        text = normal + line + normal
        assert document(text.encode(), name).text == text
    assert document(("word " * 20_000).encode(), "a.js").kind == "code"


MINIFIED = "/*! library */\n" + "function(a){return a+1};var b=2;" * 200 + "\n"


def test_minified_scripts_are_skipped_unless_kept() -> None:
    assert skip(MINIFIED.encode(), "a.js") == Skip("a.js", "generated", "minified")
    assert document(MINIFIED.encode(), "a.js", wanted=True).text == MINIFIED
    assert document(MINIFIED.encode(), "a.js", options=ScanOptions(generated=True)).text == MINIFIED
    assert document(MINIFIED.encode(), "a.py").text == MINIFIED


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.go", "// Code generated by protoc-gen-go. DO NOT EDIT.\npackage a\n"),
        (
            "a.py",
            "# -*- coding: utf-8 -*-\n# Generated by the protocol buffer compiler.  DO NOT EDIT!\nx = 1\n",
        ),
        ("a.js", "/**\n * @generated SignedSource<<abc>>\n */\nlet a\n"),
        ("a.ts", "/* eslint-disable */\n// DO NOT EDIT: this file was\n// automatically generated\nlet a\n"),
        ("a.yaml", "# AUTOGENERATED FILE, DO NOT MODIFY. generated by make\na: 1\n"),
        ("a.rs", "// generated by bindgen\n//\n// do not edit\nfn a() {}\n"),
    ],
)
def test_generated_code_says_so_in_its_head(name: str, text: str) -> None:
    assert skip(text.encode(), name).reason == "generated"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", 'HEADER = "Code generated by me. DO NOT EDIT."\n'),
        ("a.py", "x = 1\n" * 30 + "# Generated by a tool. DO NOT EDIT.\n"),
        ("a.py", "# Auto-generated by a script, but fine to change\nx = 1\n"),
        ("a.py", "# do not edit without asking\nx = 1\n"),
        ("requirements.txt", "# generated by pip-compile, do not edit\na==1\n"),
        ("a.md", "# How files that are @generated are found\n"),
    ],
)
def test_code_that_only_speaks_of_generated_files_is_indexed(name: str, text: str) -> None:
    assert document(text.encode(), name).text == text


KEY = "-----BEGIN {}PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIabc\n-----END CERTIFICATE-----\n"


def test_private_keys_are_secrets_whatever_their_names_are() -> None:
    for kind in ("", "RSA ", "OPENSSH ", "ENCRYPTED "):
        assert skip(KEY.format(kind).encode(), "deploy").reason == "secret"
    assert skip((CERTIFICATE + KEY.format("EC ")).encode(), "a.pem").reason == "secret"
    assert skip(CERTIFICATE.encode(), "a.pem").reason == "generated"
    assert skip(KEY.format("").encode(), "deploy", wanted=True).reason == "secret"
    assert document(KEY.format("").encode(), "deploy", options=ScanOptions(secrets=True)).kind == "prose"


def test_a_key_inside_a_test_does_not_hide_the_test() -> None:
    text = f'PEM = """\n{KEY.format("RSA ")}"""\n'
    assert document(text.encode(), "test_tls.py").text == text


def test_languages_are_called_as_the_grammars_are() -> None:
    names = {language.name for language in LANGUAGES}
    # Grammars that are parts of others or for whole files of another name.
    assert set(semble_grammars.available_languages()) - names == {"markdown_inline", "php_only"}


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("a.py", "python"),
        ("A.PY", "python"),
        ("a.tsx", "tsx"),
        ("a.d.ts", "typescript"),
        ("Dockerfile", "dockerfile"),
        ("Dockerfile.dev", "dockerfile"),
        ("GNUmakefile", "make"),
        ("Makefile.in", "make"),
        ("CMakeLists.txt", "cmake"),
        ("config.h.in", "c"),
        ("nginx.conf.j2", "jinja2"),
        ("settings.toml.example", "toml"),
        ("LICENSE", "text"),
        ("README", "text"),
        ("README.fr", "text"),
        ("README.md", "markdown"),
        (".gitignore", "gitignore"),
        (".bashrc", "bash"),
        ("tsconfig.json", "jsonc"),
        ("a.unknown", None),
        ("noname", None),
        ("trailing.", None),
    ],
)
def test_languages_by_file_name(name: str, language: str | None) -> None:
    found = language_of_name(name)
    assert (found.name if found else None) == language


@pytest.mark.parametrize(
    ("name", "text", "language"),
    [
        ("run", "#!/bin/sh\necho\n", "bash"),
        ("run", "#!/usr/bin/env python3.11\n", "python"),
        ("run", "#! /usr/bin/env -S FOO=1 /opt/node --flag\n", "javascript"),
        ("run", "#!/opt/unheard-of\n", "text"),
        ("run", "#!/usr/bin/env\n", "text"),
        ("a.inc", "<?php echo 1;", "php"),
        ("page", "<!DOCTYPE html><html>", "html"),
        ("a.ts", "<?xml version='1.0'?><TS/>", "xml"),
        ("a.h", "int f(void);\n", "c"),
        ("a.h", "#pragma once\nnamespace a {\n", "cpp"),
        ("a.m", "#import <Foundation/Foundation.h>\n", "objc"),
        ("a.m", "function y = f(x)\n", "matlab"),
        ("notes.unknown", "just words\n", "text"),
    ],
)
def test_languages_by_content(name: str, text: str, language: str) -> None:
    assert language_of(name, text).name == language


@pytest.mark.parametrize(
    ("said", "language"), [("IPython", "python"), ("C++17", "cpp"), ("R", "r"), ("c#", "csharp")]
)
def test_languages_by_what_kernels_call_them(said: str, language: str) -> None:
    found = named_language(said)
    assert found is not None
    assert found.name == language


def notebook(*cells: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | more).encode()


CELLS = (
    {"cell_type": "markdown", "source": ["# Title\n", "words"]},
    {"cell_type": "code", "source": "x = 1\nx", "outputs": [{"text": "LEFT OUT"}], "execution_count": 1},
    {"cell_type": "raw", "source": "raw"},
    {"cell_type": "code", "source": []},
    {"cell_type": "code", "source": "%%bash\nls"},
)


def test_a_notebook_gives_its_cells_as_parts_that_tile_the_text() -> None:
    found = document(notebook(*CELLS), "a.ipynb")
    assert (found.kind, found.language) == ("notebook", "python")
    assert found.text == "# Title\nwords\n\nx = 1\nx\n\n%%bash\nls"
    assert [(part.label, part.kind, part.language) for part in found.parts] == [
        ("cell 1", "prose", "markdown"),
        ("cell 2", "code", "python"),
        ("cell 5", "code", "bash"),
    ]
    assert [found.text[part.start : part.end] for part in found.parts] == [
        "# Title\nwords\n\n",
        "x = 1\nx\n\n",
        "%%bash\nls",
    ]


@given(st.lists(st.tuples(st.sampled_from(["code", "markdown", "raw"]), st.text(max_size=20)), max_size=6))
def test_the_parts_of_any_notebook_tile_its_text(cells: list[tuple[str, str]]) -> None:
    found = decoded(notebook(*({"cell_type": kind, "source": source} for kind, source in cells)), "a.ipynb")
    if isinstance(found, Skip):
        assert found.reason == "empty"
        assert not any(source.strip() for kind, source in cells if kind != "raw")
    else:
        assert "".join(found.text[part.start : part.end] for part in found.parts) == found.text
        found.text.encode()


def test_a_notebook_of_format_3() -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Title"]},
        {"cell_type": "code", "input": ["y <- 2"], "language": "r"},
        {"cell_type": "code", "input": "x = 1"},
    ]
    data = json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3, "metadata": {"name": ""}}).encode()
    found = document(data, "old.ipynb")
    assert found.text == "## Title\n\ny <- 2\n\nx = 1"
    assert [part.language for part in found.parts] == ["markdown", "r", "python"]


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({"language_info": {"name": "julia"}, "kernelspec": {"language": "python"}}, "julia"),
        ({"kernelspec": {"language": "R", "name": "ir"}}, "r"),
        ({"kernelspec": {"name": "python3"}}, "python"),
        ({"language_info": {"name": "brainfuck"}}, None),
        ({}, "python"),
        ("no table", "python"),
    ],
)
def test_the_language_of_a_notebook_is_its_kernels(metadata: Any, language: str | None) -> None:
    data = notebook({"cell_type": "code", "source": "x"}, metadata=metadata)
    found = document(data, "a.ipynb")
    assert found.language == language
    assert found.parts[0].language == language


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xff\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no list of cells"),
        (b'{"worksheets": [1]}', "a worksheet has no list of cells"),
        (notebook(cells=[1]), "cell 1 is no object"),
        (notebook({"cell_type": "code", "source": 5}), "the source of cell 1 is no text"),
    ],
)
def test_a_broken_notebook_is_a_skip_that_says_what_is_wrong(data: bytes, says: str) -> None:
    found = skip(data, "a.ipynb")
    assert found.reason == "broken notebook"
    assert says in found.detail


def test_lone_surrogates_and_nul_that_json_can_spell_are_replaced() -> None:
    data = b'{"cells": [{"cell_type": "code", "source": "a\\ud800\\u0000b\\ud83d\\ude42"}]}'
    assert document(data, "a.ipynb").text == "a\ufffd\ufffdb🙂"
