"""Languages as rows: their names, their kinds, and what a file of each is called.

Names are those of tree-sitter's grammars as semble-grammars spells them, where it has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vecloom.types import Kind


@dataclass(frozen=True, slots=True)
class Language:
    """One language and the kind of its files."""

    name: str
    kind: Kind


# Name, kind, and what tells the language: .suffix (a file of that whole name too), file name,
# #!interpreter, =other name. All in lower case; an indented line goes on.
_TABLE = """
python code .py .pyi .pyw .pyx .pxd .pxi .gyp .gypi sconstruct sconscript wscript #!python #!pypy #!uv
    =ipython =python2 =python3 =sage
javascript code .js .mjs .cjs .jsx .es6 .jsm jakefile #!node #!nodejs #!bun =js =ecmascript
typescript code .ts .mts .cts #!deno #!ts-node #!tsx =ts
tsx code .tsx
go code .go =golang =gonb
rust code .rs #!rust-script =evcxr
java code .java .jsh =jshell
kotlin code .kt .kts #!kotlin
scala code .scala .sc .sbt #!scala
groovy code .groovy .gradle .gvy jenkinsfile #!groovy
clojure code .clj .cljs .cljc .edn .bb #!clojure #!bb
c code .c .h .idc #!tcc
cpp code .cpp .cc .cxx .c++ .hpp .hh .hxx .h++ .ipp .inl .tpp .ixx .cppm .cu .cuh .ino .metal =c++ =c++11
    =c++14 =c++17 =c++20 =c++23
objc code .mm .m =objective-c
csharp code .cs .csx #!dotnet-script =c#
fsharp code .fs .fsi .fsx =f#
vb code .vb .bas .vbs
swift code .swift #!swift
dart code .dart #!dart
ruby code .rb .rake .gemspec .ru .podspec .thor .jbuilder .rbi rakefile gemfile podfile vagrantfile
    guardfile capfile fastfile brewfile dangerfile #!ruby #!jruby
embedded_template code .erb .ejs .rhtml =erb
php code .php .phtml .php3 .php4 .php5 #!php
perl code .pl .pm .t .pod .psgi cpanfile #!perl
lua code .lua .luau .rockspec #!lua #!luajit
tcl code .tcl .tk .itcl #!tclsh #!wish #!expect
bash code .sh .bash .zsh .ksh .bats .ebuild .envrc .bashrc .bash_profile .bash_aliases .bash_logout .profile
    .zshrc .zshenv .zprofile pkgbuild apkbuild configure #!sh #!bash #!zsh #!ksh #!dash #!ash =shell
    =shellscript
fish code .fish #!fish
powershell code .ps1 .psm1 .psd1 #!pwsh #!powershell
batch code .bat .cmd
elixir code .ex .exs mix.lock #!elixir
heex code .heex .leex
erlang code .erl .hrl .escript .app.src rebar.config #!escript
haskell code .hs .lhs .hsc #!runhaskell #!runghc #!stack
ocaml code .ml .mli .mll .mly #!ocaml
racket code .rkt .rktl #!racket
scheme code .scm .ss .sld .sls #!guile
lisp code .lisp .lsp .cl .el .asd #!sbcl #!emacs
elm code .elm
purescript code .purs
nim code .nim .nims
crystal code .cr #!crystal
d code .d .di
zig code .zig .zon
ada code .adb .ads
pascal code .pas .pp .lpr .dpr
cobol code .cob .cbl .cpy
fortran code .f .for .f77 .f90 .f95 .f03 .f08 .fpp
julia code .jl #!julia
r code .r .rprofile #!rscript =ir
matlab code .mlx #!octave
verilog code .v .vh .sv .svh
vhdl code .vhd .vhdl
assembly code .s .asm .nasm
wat code .wat .wast
glsl code .glsl .vert .frag .geom .comp .wgsl .hlsl .fx
solidity code .sol
awk code .awk #!awk #!gawk #!mawk
vim code .vim .vimrc vimrc _vimrc
sql code .sql .ddl .dml .psql .pgsql .prc =postgresql =mysql =sqlite
css code .css .pcss .postcss
scss code .scss .sass
less code .less
vue code .vue
svelte code .svelte
astro code .astro
jinja2 code .j2 .jinja .jinja2 .njk .twig =jinja
gotmpl code .gotmpl .tmpl .gohtml .tpl
handlebars code .hbs .handlebars .mustache
pug code .pug .jade .haml .slim
proto code .proto .textproto =protobuf
thrift code .thrift
capnp code .capnp
graphql code .graphql .gql .graphqls
make code .mk .mak .make makefile gnumakefile bsdmakefile kbuild makefile.am #!make =makefile
cmake code .cmake cmakelists.txt
meson code meson.build meson_options.txt meson.options
just code .just justfile #!just
starlark code .bzl .star .bazel build workspace tiltfile
dockerfile code .dockerfile .containerfile dockerfile containerfile =docker
hcl code .hcl .tf .nomad =terraform
nix code .nix
jsonnet code .jsonnet .libsonnet
gitignore data .gitignore .dockerignore .npmignore .vecloomignore .eslintignore .prettierignore
markdown prose .md .markdown .mdown .mkd .mdx .mdc .rmd .qmd =md
rst prose .rst .rest =restructuredtext
asciidoc prose .adoc .asciidoc
org prose .org
latex prose .tex .sty .cls .bib .ltx =tex
typst prose .typ
texinfo prose .texi .texinfo .txi
roff prose .1 .2 .3 .4 .5 .6 .7 .8 .man .mdoc .roff
html prose .html .htm .xhtml .shtml
text prose .txt .text .me .nfo .stp readme license licence copying copying.lesser notice authors
    contributors maintainers changelog changes news history install todo thanks credits faq version metadata
    pkg-info codeowners
notebook notebook .ipynb
json data .json .geojson .topojson .webmanifest .har .avsc .gltf .babelrc .eslintrc .prettierrc .jshintrc
    .stylelintrc .swcrc .watchmanconfig composer.lock
jsonc data .jsonc .code-workspace .code-snippets tsconfig.json jsconfig.json
json5 data .json5
jsonl data .jsonl .ndjson
yaml data .yaml .yml .clang-format .clang-tidy citation.cff .yamllint =yml
toml data .toml pipfile
ini data .ini .cfg .conf .cnf .desktop .service .inf .editorconfig .gitconfig .coveragerc .flake8 .pylintrc
    pylintrc .gitattributes .gitmodules
properties data .properties .prefs
kdl data .kdl
xml data .xml .xsd .xsl .xslt .rng .wsdl .rss .atom .plist .storyboard .xib .csproj .vbproj .fsproj .vcxproj
    .props .targets .nuspec .resx .xaml .axaml .ui .qrc .glade .kml .gpx .dae .xmi .pom .iml .config
dtd data .dtd .ent
csv data .csv .tsv .psv .tab
gettext data .po .pot
diff data .diff .patch .rej .orig
log data .log .out .err .trace
tabular data .dat .asc .vtt .srt .afm .pdb .obj .ply .hex .ihex .mtl .xyz .fasta .fa .vcf .gff .bed
"""


_KINDS: Mapping[str, Kind] = {"code": "code", "prose": "prose", "notebook": "notebook", "data": "data"}
_BY_NAME: dict[str, Language] = {}
_BY_FILE_NAME: dict[str, Language] = {}
_BY_SUFFIX: dict[str, Language] = {}
_BY_INTERPRETER: dict[str, Language] = {}


def _read_table() -> Iterator[Language]:
    for row in _TABLE.replace("\n    ", " ").strip().split("\n"):
        name, kind, *words = row.split()
        language = _BY_NAME[name] = Language(name, _KINDS[kind])
        for word in words:
            if word.startswith("#!"):
                _BY_INTERPRETER[word[2:]] = language
            elif word.startswith("="):
                _BY_NAME[word[1:]] = language
            else:
                (_BY_SUFFIX if word.startswith(".") else _BY_FILE_NAME)[word] = language
        yield language


LANGUAGES = tuple(_read_table())

# Suffixes of files that are filled in later; what they will be is told by the rest of the name.
_TEMPLATES = (".in", ".example", ".sample", ".dist", ".template", ".bak")

_CPP = re.compile(r"^\s*(?:class|namespace|template\s*<|using\s+namespace|public:|private:)", re.MULTILINE)
_OBJC = re.compile(
    r"^\s*(?:@(?:interface|implementation|protocol|class|import)\b|#(?:import|include)\b)", re.MULTILINE
)
_HEAD_CHARS = 4096


def named_language(name: str) -> Language | None:
    """The language that a notebook's kernel or a ``%%`` cell calls ``name``."""
    return _BY_NAME.get(name.strip().lower())


def language_of_name(file_name: str) -> Language | None:
    """The language that a file's name tells, or None."""
    low = file_name.lower()
    for stem in (low, *(low.removesuffix(end) for end in _TEMPLATES if low.endswith(end))):
        found = _BY_FILE_NAME.get(stem) or _BY_SUFFIX.get(stem[stem.rfind(".") :] if "." in stem else "")
        if found:
            return found
    first, dot, _ = low.partition(".")
    # Dockerfile.dev, Makefile.am, README.fr; but a suffix that is known decides first.
    return _BY_FILE_NAME.get(first) if dot else None


def language_of(file_name: str, text: str) -> Language:
    """The language of a file, by its name and else by how its text begins; ``text`` where nothing tells."""
    named = language_of_name(file_name)
    head = text[:_HEAD_CHARS]
    if named is None:
        return _language_of_text(head)
    if named.name == "typescript" and head.startswith("<?xml"):  # translations of Qt end in .ts too
        return _BY_NAME["xml"]
    if named.name == "c" and file_name.lower().endswith(".h") and _CPP.search(head):
        return _BY_NAME["cpp"]
    if named.name == "objc" and file_name.lower().endswith(".m") and not _OBJC.search(head):
        return _BY_NAME["matlab"]
    return named


def _language_of_text(head: str) -> Language:
    if head.startswith("<?xml"):
        return _BY_NAME["xml"]
    if head.startswith("<?php"):
        return _BY_NAME["php"]
    if head[:15].lower().startswith(("<!doctype html", "<html")):
        return _BY_NAME["html"]
    first = head.partition("\n")[0]
    words = [word.rpartition("/")[2] for word in first[2:].split()] if first.startswith("#!") else []
    if words and words[0] == "env":
        # env -S, env NAME=value: the interpreter is the first word that is neither.
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    interpreter = words[0].lower().rstrip(".0123456789") if words else ""
    return _BY_INTERPRETER.get(interpreter, _BY_NAME["text"])
