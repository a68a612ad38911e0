"""What a syntax node is called, if it defines something, across tree-sitter's grammars.

Most grammars give a definition's name the field ``name``; the table below holds the exceptions. Node types
of different grammars hardly ever mean different things under one name, so one table serves all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from tree_sitter import Node

_MAX_NAME = 80
_DEFINES = re.compile(
    r"class|struct|union|enum|interface|trait|object|protocol|extension|module|namespace|function|method"
    r"|constructor|destructor|macro|procedure|subroutine|record|instance|data_type|newtype|contract|service"
    r"|message|rpc|type_alias|type_item|type_spec|bind$|mod_item|property_declaration|init_declaration"
    r"|modifier_definition|internal_module"
)
_NOT_DEFINES = re.compile(
    r"call|invocation|param|argument|reference|body|header|list|clause|import|identifier|constant|variant"
    r"|enumerator|entry|literal|expression|constructor_decl$|data_constructor|forall|scope|access|attribute"
)
_FUNCTION = re.compile(r"function|method|constructor|init_declaration|lambda|closure|procedure|subroutine")
_LEADING = re.compile(r"comment|haddock|^attribute|^decorator$|annotation|^signature$|^modifiers$")
_NAMED_VALUE = re.compile(r"(?<!builtin_)function|class|object|struct|table_constructor|union|enum|module")
_ASSIGNMENTS = ("assignment_expression", "assignment_statement", "variable_declarator")
_ELIXIR_DEFINES = frozenset(
    [
        "def",
        "defp",
        "defmacro",
        "defmacrop",
        "defmodule",
        "defprotocol",
        "defimpl",
        "defguard",
        "defguardp",
        "describe",
        "test",
    ]
)

Name: TypeAlias = "tuple[str, ...]"
#: A node and the source (UTF-8) that it lies in -> what it defines; empty: nothing.
Namer: TypeAlias = "Callable[[Node, bytes], Name]"


@dataclass(frozen=True, slots=True)
class NodeKind:
    """How nodes of one type are treated.

    ``name`` gives what a node defines (empty: nothing). ``wraps``: the name is of a definition inside, which
    will tell it again. ``function``: what is inside are statements. ``leading``: comments, attributes and
    the like, which belong to what follows.
    """

    name: Namer | None
    wraps: bool
    function: bool
    leading: bool


def _text(node: Node | None, source: bytes) -> str:
    # Node.text asks the parser's read callback again, which copies the rest of the source each time.
    if node is None:
        return ""
    start = node.start_byte
    shown = source[start : min(node.end_byte, start + 4 * _MAX_NAME)]
    text = " ".join(shown.decode(errors="ignore").split())
    return text if len(text) <= _MAX_NAME else text[: _MAX_NAME - 1] + "…"


def _named(node: Node | None, source: bytes) -> Name:
    text = _text(node, source).strip("\"'`")
    return (text,) if text else ()


def _field(field: str) -> Namer:
    return lambda node, source: _named(node.child_by_field_name(field), source)


def _first_child(node: Node, source: bytes) -> Name:
    return _named(node.named_child(0), source) if node.named_child_count else ()


def _fixed(name: str) -> Namer:
    return lambda _node, _source: (name,)


def _declarator(node: Node, source: bytes) -> Name:
    """C and its kin: the identifier at the end of a chain of declarators."""
    inner = node.child_by_field_name("declarator")
    while inner is not None:
        deeper = inner.child_by_field_name("declarator")
        if deeper is None and inner.type in ("reference_declarator", "parenthesized_declarator"):
            deeper = inner.named_child(0)
        if deeper is None:
            return _named(inner, source)
        inner = deeper
    return ()


def _wrapped(node: Node, source: bytes) -> Name:
    """The one name that is defined among a node's children, as in an export or a decorated definition."""
    kinds = ((child, node_kind(child.type)) for child in node.named_children)
    names = {kind.name(child, source) for child, kind in kinds if kind.name is not None and not kind.wraps}
    names.discard(())
    return names.pop() if len(names) == 1 else ()


def _method(node: Node, source: bytes) -> Name:
    """A method; in Go its receiver's type goes before it."""
    name = _named(node.child_by_field_name("name"), source)
    receiver = node.child_by_field_name("receiver")
    if receiver is None:
        return name
    owner = re.search(r"(\w+)\s*(?:\[[^\]]*\]\s*)?\)\s*$", _text(receiver, source))
    return (owner[1], *name) if owner else name


def _assigned(node: Node, source: bytes) -> Name:
    """``const f = () => ...``, ``exports.f = function``, ``M.f = function``, ``const P = struct {...}``."""
    first = node.named_child(0) if node.named_child_count else None
    if first is not None and first.type in _ASSIGNMENTS:
        node = first
    for value in node.named_children[1:]:
        if _NAMED_VALUE.search(value.type) or (value.type == "expression_list" and _holds_value(value)):
            return _first_child(node, source)
    return ()


def _field_with_value(node: Node, source: bytes) -> Name:
    """A class's field that holds a function or the like; plain fields are not named."""
    if not _holds_value(node):
        return ()
    return _field("property")(node, source) or _field("name")(node, source)


def _holds_value(node: Node) -> bool:
    return any(_NAMED_VALUE.search(child.type) for child in node.named_children)


def _pair(node: Node, source: bytes) -> Name:
    key = node.child_by_field_name("key")
    return _named(key, source) if key is not None else _first_child(node, source)


def _elixir_call(node: Node, source: bytes) -> Name:
    """``def name(args) when ...``, ``defmodule Name do``; other calls define nothing."""
    target = node.child_by_field_name("target")
    if target is None or _text(target, source) not in _ELIXIR_DEFINES or node.named_child_count < 2:
        return ()
    arguments = node.named_child(1)
    head = arguments.named_child(0) if arguments is not None and arguments.named_child_count else None
    while head is not None and head.type in ("binary_operator", "call"):
        head = head.named_child(0)
    return _named(head, source)


def _instance(node: Node, source: bytes) -> Name:
    """A Haskell instance: the class with its types."""
    words = [_text(node.child_by_field_name(field), source) for field in ("name", "patterns")]
    name = " ".join(filter(None, words))
    return (name,) if name else ()


def _created(node: Node, source: bytes) -> Name:
    """SQL's CREATE statements: the object's name."""
    names = (child for child in node.named_children if child.type in ("object_reference", "identifier"))
    return _named(next(names, None), source)


_NAMERS: Mapping[str, Namer] = {
    "anonymous_function": lambda _node, _source: (),
    "assignment_expression": _assigned,
    "assignment_statement": _assigned,
    "block_mapping_pair": _pair,
    "call": _elixir_call,
    "class_declaration": _field("name"),
    "companion_object": _fixed("companion"),
    "expression_statement": _assigned,
    "field_definition": _field_with_value,
    "flow_pair": _pair,
    "function_definition": lambda node, source: _field("name")(node, source) or _declarator(node, source),
    "impl_item": _field("type"),
    "init_declaration": _fixed("init"),
    "instance": _instance,
    "keyframes_statement": _first_child,
    "lexical_declaration": _assigned,
    "media_statement": lambda node, source: (_text(node, source).partition("{")[0].strip(),),
    "method_declaration": _method,
    "pair": _pair,
    "public_field_definition": _field_with_value,
    "rule_set": _first_child,
    "table": _first_child,
    "table_array_element": _first_child,
    "test_declaration": _first_child,
    "type_definition": _declarator,
    "variable_declaration": _assigned,
}
_WRAPPERS = frozenset(
    (
        "ambient_declaration",
        "decorated_definition",
        "export_statement",
        "linkage_specification",
        "preproc_if",
        "preproc_ifdef",
        "statement",
        "template_declaration",
        "type_declaration",
    )
)


@cache
def node_kind(node_type: str) -> NodeKind:
    """How nodes of this type are treated, in any grammar."""
    wraps = node_type in _WRAPPERS
    name: Namer | None = None
    if wraps:
        name = _wrapped
    elif node_type in _NAMERS:
        name = _NAMERS[node_type]
    elif node_type.startswith(("create_", "alter_")):
        name = _created
    elif _DEFINES.search(node_type) and not _NOT_DEFINES.search(node_type):
        name = _field("name")
    return NodeKind(
        name=name,
        wraps=wraps,
        function=bool(_FUNCTION.search(node_type)),
        leading=bool(_LEADING.search(node_type)),
    )
