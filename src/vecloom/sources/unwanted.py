"""What nobody searches for: tables of names, and marks in contents.

The names hold below a root only, so that ``index .../site-packages`` works; a ``!`` rule in a
.vecloomignore takes a folder or generated file back, but never a secret.
"""

from __future__ import annotations

import re

from vecloom.sources.entries import Reason


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Folders of version control, fetched dependencies and caches. Names that people give to their own folders
# too (build, dist, target, vendor, env) are not here: .gitignore, CACHEDIR.TAG and pyvenv.cfg tell those.
_TOOL_FOLDERS = _words("""
    .git .hg .svn .bzr .jj .sl CVS _darcs
    node_modules bower_components jspm_packages .pnpm-store .yarn Pods elm-stuff
    __pycache__ .venv .tox .nox .eggs .mypy_cache .pytest_cache .ruff_cache .hypothesis .pytype .pixi
    .ipynb_checkpoints __pypackages__
    .gradle .idea .vs .terraform .terragrunt-cache .serverless .dart_tool .bloop .metals .stack-work
    dist-newstyle .next .nuxt .svelte-kit .parcel-cache .turbo .angular .cache .ccls-cache .clangd
    DerivedData .bundle __MACOSX
""")

#: A folder that holds one of these files is a virtual environment.
ENVIRONMENT_MARKS = _words("pyvenv.cfg conda-meta")

#: https://bford.info/cachedir/: the first bytes of a CACHEDIR.TAG in a folder that can be made again.
CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"

SECRET_FOLDERS = _words(".ssh .gnupg .aws .kube .azure")

_SECRET_NAMES = _words("""
    .netrc _netrc .pypirc .npmrc .pgpass .htpasswd .git-credentials .dockercfg .boto .s3cfg .my.cnf
    credentials .credentials credentials.json credentials.csv .vault_pass .vault-token
    secrets.json secrets.yml secrets.yaml secrets.toml secrets.env
    id_rsa id_dsa id_ecdsa id_ed25519 id_ecdsa_sk id_ed25519_sk
""")
_SECRET_SUFFIXES = tuple(
    _words("""
    .key .ppk .p8 .p12 .pfx .jks .keystore .kdbx .gpg .env .tfvars .tfstate .tfstate.backup
""")
)

_GENERATED_NAMES = _words("""
    package-lock.json npm-shrinkwrap.json pnpm-lock.yaml bun.lock go.sum packages.lock.json
    package.resolved gradle.lockfile record installer wheel requested .ds_store .pnp.cjs .pnp.loader.mjs
""")
_GENERATED_SUFFIXES = tuple(
    _words("""
    .lock .map .min.js .min.mjs .min.cjs .min.css .bundle.js .chunk.js .snap .svg .tsbuildinfo ~
    _pb2.py _pb2.pyi _pb2_grpc.py .pb.go .pb.gw.go .pb.cc .pb.h .pb.swift _pb.js _pb.d.ts
    .g.cs .g.dart .freezed.dart .designer.cs .generated.cs .generated.go .generated.ts .generated.js
""")
)

_BINARY_SUFFIXES = _words("""
    .png .jpg .jpeg .gif .bmp .ico .icns .webp .tif .tiff .psd .xcf .avif .heic .eps .ai .dds .tga .exr
    .mp3 .wav .flac .ogg .m4a .aac .opus .mid .mp4 .mov .avi .mkv .webm .m4v .wmv
    .ttf .otf .woff .woff2 .eot .doc .xls .xlsx .ppt .pptx .odt .ods .odp .epub
    .zip .gz .tgz .bz2 .xz .zst .7z .rar .tar .lz4 .br .jar .war .whl .egg .gem .nupkg .apk .deb .rpm
    .dmg .iso
    .pyc .pyo .pyd .so .dll .dylib .exe .o .obj .a .lib .class .wasm .beam .rlib .rmeta .elc .hi .cmi
    .cmo .nib
    .bin .npy .npz .pkl .pickle .parquet .arrow .feather .h5 .hdf5 .onnx .pt .pth .safetensors .gguf
    .tflite .pb .ckpt .joblib .mat .rds .rda .sqlite .sqlite3 .db .mdb .sst .ldb .mo .gmo .der .swp .swo
    .blend .fbx .glb .stl .unitypackage .uasset .ttc .icc .pcap .dex .lockb
""")


def is_tool_folder(name: str) -> bool:
    """Whether tools, not people, fill folders of this name."""
    return name in _TOOL_FOLDERS or name.endswith(".egg-info")


def unwanted_name(name: str) -> tuple[Reason, str] | None:
    """Why a file of this name is passed over without being read, if it is."""
    low = name.lower()
    if low.startswith(".env") or low in _SECRET_NAMES or low.endswith(_SECRET_SUFFIXES):
        return "secret", "by its name"
    dot = low.rfind(".")
    if dot >= 0 and (low[dot:] in _BINARY_SUFFIXES or ".so." in low):
        return "binary", "by its name"
    # Word, while it has a file open, puts one beside it whose name begins with "~$".
    if low in _GENERATED_NAMES or low.endswith(_GENERATED_SUFFIXES) or low.startswith("~$"):
        return "generated", "by its name"
    return None


_ARMOUR = re.compile(rb"\s*-----BEGIN [A-Z0-9 ]+-----")
_PRIVATE_KEY = re.compile(rb"^-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----\s", re.MULTILINE)


def armoured(name: str, data: bytes) -> tuple[Reason, str] | None:
    """Whether a file is a key or certificate in text form, and which.

    A private key that stands inside another text (a test, a manual) does not make a secret of it, except
    in .pem and .crt files, which may hold several parts.
    """
    bundle = name.lower().endswith((".pem", ".crt", ".cer", ".cert"))
    if not bundle and not _ARMOUR.match(data):
        return None
    if _PRIVATE_KEY.search(data):
        return "secret", "holds a private key"
    return "generated", "a certificate or key in text form"


# The marks stand in a comment or docstring at the head of the file; a program that writes them elsewhere
# is not itself generated.
_HEAD_LINES = 20
_HEAD_CHARS = 2000
_COMMENT = re.compile(r"\s*(?:#|//|/?\*|--|;|<!--|%|\"|')")
_GENERATED_MARK = re.compile(
    r"@generated\b"
    r"|\b(?:generated|autogenerated)\b[^\n]{0,200}(?:\n[^\n]{0,20}){0,2}\bdo not (?:edit|modify)\b"
    r"|\bdo not (?:edit|modify)\b[^\n]{0,200}(?:\n[^\n]{0,20}){0,2}\b(?:generated|autogenerated)\b",
    re.IGNORECASE,
)

# Minified: nearly all of it in long lines almost without blanks, and few other lines.
_LONG_LINE = 1000
_LONG_SHARE = 0.8
_BLANK_SHARE = 0.08
_SHORT_LINES = 30
_MINIFIED = frozenset({"javascript", "typescript", "css"})


def generated_mark(text: str, language: str) -> str | None:
    """What shows that a program wrote this code, if anything does: a mark in its head, or minified lines."""
    head = text[:_HEAD_CHARS].split("\n")[:_HEAD_LINES]
    found = _GENERATED_MARK.search("\n".join(line for line in head if _COMMENT.match(line)))
    if found:
        return f"says {' '.join(found[0].split())!r}"
    return "minified" if language in _MINIFIED and _minified(text) else None


def _minified(text: str) -> bool:
    if len(text) < _LONG_LINE:
        return False
    lines = text.split("\n")
    long = [line for line in lines if len(line) > _LONG_LINE]
    size = sum(map(len, long))
    blanks = sum(line.count(" ") + line.count("\t") for line in long)
    short = sum(1 for line in lines if line.strip()) - len(long)
    return size > _LONG_SHARE * len(text) and blanks < _BLANK_SHARE * size and short < _SHORT_LINES
