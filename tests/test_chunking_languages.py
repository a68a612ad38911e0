"""Each language: definitions stay whole where they fit, and chunks are named after them."""

from __future__ import annotations

from textwrap import dedent

import pytest

from chunk_checks import chunk_and_check, document
from vecloom.encoders.counters import WordCounter
from vecloom.types import Kind

BUDGET = 64
WORDS = WordCounter()

#: Language -> a source in which @@ stands for a body of many words, and definitions with their breadcrumb.
SOURCES: dict[str, tuple[str, dict[str, str]]] = {
    "python": (
        """
        import os

        class Server(Base):
            '''Doc @@'''

            # about start
            @property
            def start(self) -> int:
                call(@@)

            async def stop(self):
                call(@@)

        def main():
            call(@@)
        """,
        {
            "# about start": "Server > start",
            "def start": "Server > start",
            "async def stop": "Server > stop",
            "def main": "main",
        },
    ),
    "javascript": (
        """
        export default class Server extends Base {
          start() {
            call(@@);
          }
          stop = async () => {
            call(@@);
          }
        }
        /** about main */
        export const main = (a) => {
          call(@@);
        };
        exports.other = function () {
          call(@@);
        };
        """,
        {
            "start()": "Server > start",
            "stop =": "Server > stop",
            "about main": "main",
            "export const main": "main",
            "exports.other": "exports.other",
        },
    ),
    "typescript": (
        """
        namespace Net {
          export abstract class Server<T> {
            private start(a: string): void {
              call(@@);
            }
            stop = (): void => {
              call(@@);
            }
          }
          export interface Options {
            a: [@@];
          }
        }
        export function main(this: Window): asserts x is string {
          call(@@);
        }
        """,
        {
            "private start": "Net > Server > start",
            "interface Options": "Net > Options",
            "function main": "main",
        },
    ),
    "tsx": (
        """
        export function Page({ a }: Props) {
          return <div>{call(@@)}</div>;
        }
        const Row: FC<Props> = ({ a }) => (
          <li>{call(@@)}</li>
        );
        """,
        {"function Page": "Page", "const Row": "Row"},
    ),
    "go": (
        """
        package net

        // Start starts.
        func (s *Server[T]) Start(a int) error {
            call(@@)
        }

        func main() {
            call(@@)
        }

        type Options struct {
            A int // @@
        }
        """,
        {
            "// Start starts": "Server > Start",
            "func (s": "Server > Start",
            "func main": "main",
            "type Options": "Options",
        },
    ),
    "rust": (
        """
        mod net {
            /// About Server.
            #[derive(Debug)]
            pub struct Server { a: [@@] }
            impl<T> Runs for Server<T> where T: Copy {
                pub async fn start(&self) -> Result<()> {
                    call(@@)
                }
                fn stop() { call(@@) }
            }
        }
        macro_rules! main {
            () => { call(@@) };
        }
        """,
        {
            "/// About": "net > Server",
            "#[derive": "net > Server",
            "pub async fn start": "net > Server<T> > start",
            "macro_rules": "main",
        },
    ),
    "java": (
        """
        package net;
        public class Server<T> implements Runs {
          public Server() {
            call(@@);
          }
          /** About start. */
          @Override
          public int start(int a) throws E {
            call(@@);
          }
          enum Mode { A(call(@@)) }
        }
        record Options(int a) { static int b = call(@@); }
        """,
        {
            "public Server()": "Server > Server",
            "@Override": "Server > start",
            "public int start": "Server > start",
            "enum Mode": "Server > Mode",
            "record Options": "Options",
        },
    ),
    "c": (
        """
        #include <stdio.h>
        struct server { int a[call(@@)]; };
        /* about start */
        static const char *start(struct server *s) {
          call(@@);
        }
        #ifdef X
        int stop(void) {
          call(@@);
        }
        #endif
        """,
        {
            "struct server {": "server",
            "/* about start": "start",
            "static const char": "start",
            "int stop": "stop",
        },
    ),
    "cpp": (
        """
        namespace net {
        template <class T> class Server : Base {
          void start() const {
            call(@@);
          }
          ~Server() { call(@@); }
        };
        int Server::stop(int a) {
          call(@@);
        }
        }
        bool operator==(A a, B b) {
          call(@@);
        }
        """,
        {
            "void start": "net > Server > start",
            "int Server::stop": "net > Server::stop",
            "bool operator": "operator==",
        },
    ),
    "csharp": (
        """
        using System;
        namespace Net {
          public class Server : Base {
            public int Size { get { return call(@@); } }
            [Obsolete]
            public async Task<int> Start(int a) {
              call(@@);
            }
          }
          interface IRuns { void Run(@@); }
        }
        """,
        {
            "public int Size": "Net > Server > Size",
            "[Obsolete]": "Net > Server > Start",
            "public async Task": "Net > Server > Start",
            "interface IRuns": "Net > IRuns",
        },
    ),
    "ruby": (
        """
        module Net
          class Server < Base
            # about start
            def start(a)
              call(@@)
            end

            def self.stop
              call(@@)
            end
          end
        end
        """,
        {
            "# about start": "Net > Server > start",
            "def start": "Net > Server > start",
            "def self.stop": "Net > Server > stop",
        },
    ),
    "php": (
        """
        <?php
        namespace Net;
        class Server extends Base {
          /** About start. */
          public function start($a) {
            call(@@);
          }
          private static function stop() {
            call(@@);
          }
        }
        function main() {
          call(@@);
        }
        """,
        {
            "About start": "Server > start",
            "public function start": "Server > start",
            "private static function": "Server > stop",
            "function main": "main",
        },
    ),
    "kotlin": (
        """
        package net
        class Server(val a: Int) : Base() {
          @Test
          fun start(a: Int): Int {
            call(@@)
          }
          companion object { val x = call(@@) }
        }
        fun String.main() {
          call(@@)
        }
        """,
        {
            "@Test": "Server > start",
            "fun start": "Server > start",
            "companion object": "Server > companion",
            "fun String.main": "main",
        },
    ),
    "swift": (
        """
        import Net
        struct Server: Base {
          init(a: Int) {
            call(@@)
          }
          @discardableResult
          func start(a: Int) -> Int {
            call(@@)
          }
        }
        extension Server {
          func stop() {
            call(@@)
          }
        }
        """,
        {
            "init(a": "Server > init",
            "@discardableResult": "Server > start",
            "func start": "Server > start",
            "func stop": "Server",
        },
    ),
    "lua": (
        """
        local M = {}
        -- about start
        function M.start(a)
          call(@@)
        end
        local function main()
          call(@@)
        end
        M.stop = function()
          call(@@)
        end
        """,
        {
            "-- about start": "M.start",
            "function M.start": "M.start",
            "local function main": "main",
            "M.stop =": "M.stop",
        },
    ),
    "bash": (
        """
        #!/bin/sh
        # about start
        start() {
          call @@
        }
        function main {
          call @@
        }
        """,
        {"# about start": "start", "start()": "start", "function main": "main"},
    ),
    "elixir": (
        """
        defmodule Net.Server do
          @doc "About start"
          def start(a, b) when a > 1 do
            call(@@)
          end

          defp main(a) do
            call(@@)
          end
        end
        """,
        {
            "@doc": "Net.Server > start",
            "def start": "Net.Server > start",
            "defp main": "Net.Server > main",
        },
    ),
    "haskell": (
        """
        module Net where

        -- | About start
        start :: Int -> Int
        start 1 = call [@@]
        start a = a

        data Server = Server { a :: Int } -- @@

        instance Runs Server where
          run a = call [@@]
        """,
        {
            "-- | About": "start",
            "start ::": "start",
            "start 1": "start",
            "data Server": "Server",
            "instance Runs": "Runs Server",
        },
    ),
    "zig": (
        """
        const std = @import("std");
        /// About start
        pub fn start(a: u8) !void {
            call(@@);
        }
        pub const Server = struct {
            fn stop(self: *Server) void {
                call(@@);
            }
        };
        test "stops" {
            call(@@);
        }
        """,
        {"/// About": "start", "pub fn start": "start", "fn stop": "Server", 'test "stops"': "stops"},
    ),
    "scala": (
        """
        object Net {
          class Server(a: Int) extends Base {
            def start(b: Int): Int = {
              call(@@)
            }
          }
          trait Runs { def run = call(@@) }
        }
        """,
        {"def start": "Net > Server", "trait Runs": "Net > Runs"},
    ),
    "sql": (
        """
        CREATE TABLE servers (
          a INT DEFAULT call(@@)
        );
        CREATE VIEW running AS SELECT call(@@) FROM servers;
        """,
        {"CREATE TABLE": "servers", "CREATE VIEW": "running"},
    ),
    "css": (
        """
        .server > a:hover {
          content: call(@@);
        }
        @media print {
          b { content: call(@@); }
        }
        """,
        {".server": ".server > a:hover", "@media": "@media print"},
    ),
    "toml": (
        """
        [tool.server]
        a = [@@]

        [[jobs]]
        b = [@@]
        """,
        {"[tool.server]": "tool.server", "[[jobs]]": "jobs"},
    ),
    "json": (
        """
        {
          "server": {
            "a": "@@",
            "b": "@@"
          },
          "jobs": ["@@"]
        }
        """,
        {'"a":': "server > a", '"b":': "server > b", '"jobs":': "jobs"},
    ),
    "yaml": (
        """
        # about server
        server:
          a: @@
          b: |
            not: a key @@
        jobs:
          - run: @@
        ---
        other: @@
        """,
        {
            "# about server": "server > a",
            "  a:": "server > a",
            "  b:": "server > b",
            "not: a key": "server > b",
            "- run": "jobs > run",
            "other:": "other",
        },
    ),
}


def inflated(source: str) -> str:
    """The source with bodies of 36 words: one definition fits a chunk, two do not."""
    words = ", ".join(f"w{number}" for number in range(36))
    return dedent(source).lstrip("\n").replace("@@", words)


@pytest.mark.parametrize("language", sorted(SOURCES))
def test_definitions_are_whole_and_named(language: str) -> None:
    source, crumbs = SOURCES[language]
    text = inflated(source)
    kind: Kind = "data" if language in ("json", "yaml", "toml") else "code"
    chunked = chunk_and_check(document(text, language, kind, path="m"), WORDS, BUDGET)
    assert chunked.fallback is None
    found = {}
    for start in crumbs:
        [chunk] = [chunk for chunk in chunked.chunks if start in chunk.text]
        found[start] = chunk.breadcrumb
        line = next(line for line in text.splitlines() if start in line)
        body = text[text.index(line) :]
        whole = body[: body.index("w35") + 3]
        assert whole in chunk.text
    assert found == crumbs


@pytest.mark.parametrize("language", sorted(SOURCES))
def test_definitions_are_whole_with_other_line_ends_and_errors_around_them(language: str) -> None:
    text = inflated(SOURCES[language][0])
    chunk_and_check(document(text.replace("\n", "\r\n"), language), WORDS, BUDGET)
    chunk_and_check(document(")]} " + text * 3 + "{([", language), WORDS, BUDGET)


@pytest.mark.parametrize(
    ("alias", "language"),
    [
        ("C#", "csharp"),
        ("c++", "cpp"),
        ("jsx", "tsx"),
        ("shell", "bash"),
        ("terraform", "hcl"),
        ("yml", "yaml"),
    ],
)
def test_other_names_of_a_language_mean_the_same(alias: str, language: str) -> None:
    text = inflated(SOURCES.get(language, ("a = [@@]\nb = [@@]\n", {}))[0])
    by_alias = chunk_and_check(document(text, alias), WORDS, BUDGET)
    assert by_alias == chunk_and_check(document(text, language), WORDS, BUDGET)
    assert by_alias.fallback is None


def test_a_long_function_is_cut_at_its_statements() -> None:
    loop = "    for a in b:\n        call(a, b, c, d, e)\n        call(f, g, h, i, j)\n"
    text = "def long():\n" + loop * 40
    chunked = chunk_and_check(document(text, "python", path="m"), WORDS, BUDGET)
    assert {chunk.breadcrumb for chunk in chunked.chunks} == {"long"}
    assert all(chunk.text.startswith("    for a in b:") for chunk in chunked.chunks[1:])


def test_the_last_line_of_a_definition_stays_with_it() -> None:
    method = "  start() {\n    call(" + ", ".join(f"w{number}" for number in range(50)) + ");\n  }\n"
    text = "class A {\n" + method * 12 + "}\n"
    chunked = chunk_and_check(document(text, "javascript", path="m"), WORDS, BUDGET)
    assert all(chunk.text.strip() != "}" for chunk in chunked.chunks)
