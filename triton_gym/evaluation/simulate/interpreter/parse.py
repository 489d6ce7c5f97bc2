"""Reads the text of Triton's intermediate representation.

The text is what a hostile process sends: nothing of it is ever executed, and what is not understood
is refused.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import NoReturn

from triton_gym.evaluation.simulate.interpreter.locations import Locations
from triton_gym.evaluation.simulate.interpreter.types import (
    Block,
    Function,
    Module,
    Operation,
    Type,
)

LARGEST = 8 << 20
"""Most characters of a kernel's text."""
DEEPEST = 60
"""Most regions inside one another."""
_NAME = r"%[\w.$-]+(?:#\d+)?"
_OPERANDS = re.compile(_NAME)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_RESULTS = re.compile(rf"((?:{_NAME}(?::\d+)?(?:, )?)+) = ")
_ARGUMENT = re.compile(rf"({_NAME}): ([^,()]+(?:<[^()]*>)?)")
_TARGET = re.compile(r"\^(\w+)(?:\(([^)]*)\))?")
_LOOP = re.compile(rf"scf\.for (?:unsigned )?({_NAME}) = ({_NAME}) to ({_NAME}) step ({_NAME})")
_QUOTED = re.compile(r'^"([a-z_]+\.[a-z_.0-9]+)"')
_ELEMENTS = re.compile(r"^(?:[iu]\d+|index|bf16|f16|f32|f64|tf32|f8E\w+)$")


class UnknownText(Exception):
    """A text is no TTIR, or has something that is not known."""


def parse(text: str) -> Module:
    """The module that a text describes.

    Raises:
        UnknownText: it is not understood.
    """
    if len(text) > LARGEST:
        raise UnknownText(f"a kernel of {len(text)} characters")
    reader = _Reader(text)
    try:
        return reader.module()
    except (IndexError, KeyError, ValueError) as error:
        raise UnknownText(f"{type(error).__name__} in line {reader.at}: {reader.now}") from None


@functools.lru_cache(1024)
def type_of(text: str) -> Type:
    """The type that a text names.

    Raises:
        UnknownText: it is none that is known.
    """
    text = text.strip()
    if text.startswith("tensor<"):
        inner = text[7 : text.rindex(">")]
        sizes = re.match(r"(?:\d+x)*", inner)
        shape = tuple(int(n) for n in sizes[0].split("x")[:-1]) if sizes else ()
        scalar = type_of(inner[len(sizes[0]) if sizes else 0 :].split(",")[0])
        return Type(scalar.element, shape, scalar.pointee)
    if text.startswith("!tt.ptr<"):
        inner = text[8 : text.rindex(">")].split(",")[0].strip()
        return Type("ptr", None, type_of(inner).element)
    if text.startswith("!tt.tensordesc<"):
        inner = text[15 : text.rindex(">")]
        block = type_of(inner if inner.startswith("tensor<") else f"tensor<{inner}>")
        return Type("desc", block.shape, block.element)
    if re.fullmatch(r"[su]i\d+", text):  # what a descriptor's integers are, of a sign
        text = text[1:]
    if not _ELEMENTS.match(text):
        raise UnknownText(f"type {text[:60]!r}")
    return Type(text)


def types_in(text: str) -> list[Type]:
    """The types of a list of them."""
    return [type_of(part) for part in split(text.strip().strip("()")) if part.strip()]


def split(text: str) -> list[str]:
    """The parts of a list at its commas, but not at those inside brackets."""
    parts, depth, start = [], 0, 0
    for place, char in enumerate(text):
        if char in "<({[":
            depth += 1
        elif char in ">)}]" and text[place - 1] != "-":
            depth -= 1
        elif char == "," and not depth:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


class _Reader:
    """Walks through the lines of a text."""

    def __init__(self, text: str) -> None:
        self._locations = Locations(text)
        self._lines = text.splitlines()
        self.at = 0
        self.now = ""
        self._types: dict[str, Type] = {}
        self._known: dict[str, str] = {}
        self._count = 0
        self._depth = 0

    def module(self) -> Module:
        functions = {}
        while self.at < len(self._lines):
            line = self._next()
            if line.startswith("tt.func "):
                function = self._function(line)
                functions[function.name] = function
            elif line and not line.startswith(("#", "module", "}", "//")):
                self._refuse()
        if sum(f.public for f in functions.values()) != 1:
            raise UnknownText("not one public function")
        return Module(functions)

    def _next(self) -> str:
        self.now = self._lines[self.at].strip()
        self.at += 1
        return self.now

    def _refuse(self) -> NoReturn:
        raise UnknownText(f"line {self.at}: {self.now[:120]}")

    def _function(self, line: str) -> Function:
        text = self._locations.strip_all(line.removesuffix("{"))
        found = re.match(r"tt\.func (public|private)? ?@\"?([\w.$<>,*: -]+?)\"?\(", text)
        if not found:
            self._refuse()
        end, depth = found.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        self._types, self._known = {}, {}
        arguments, hints = [], []
        for part in split(text[found.end() : end - 1]):
            if part.strip():
                name, _, rest = part.strip().partition(": ")
                kind, _, extra = rest.partition(" {")
                arguments.append((name, type_of(kind)))
                hints.append(_attributes("{" + extra) if extra else {})
        arguments = self._defined(arguments)
        blocks = self._blocks()
        closing = self._locations.strip(self.now)[1]
        return Function(found[2], arguments, hints, found[1] != "private", blocks, closing)

    def _blocks(self) -> list[Block]:
        """Blocks up to the line that closes their region, which `now` is then."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise UnknownText("regions too deep")
        blocks = [Block("")]
        while True:
            line = self._next()
            if line.startswith("}"):
                self._depth -= 1
                if not blocks[0].operations and not blocks[0].arguments and len(blocks) > 1:
                    blocks.pop(0)
                return blocks
            if line.startswith("^"):
                text = self._locations.strip_all(line.split("//")[0])
                label = re.match(r"\^(\w+)", text)
                arguments = [(n, type_of(t)) for n, t in _ARGUMENT.findall(text)]
                blocks.append(Block(label[1] if label else "", self._defined(arguments)))
            elif line and not line.startswith(("//", "#")):
                blocks[-1].operations.append(self._operation(line))

    def _operation(self, line: str) -> Operation:
        text, place = self._locations.strip(line)
        strings: list[str] = []
        quoted = _QUOTED.match(re.sub(_RESULTS, "", text, count=1))

        def keep(found: re.Match[str]) -> str:
            strings.append(found[1])
            return f'"{len(strings) - 1}"'

        plain = _STRING.sub(keep, text)
        found = _RESULTS.match(plain)
        names = _names(found[1]) if found else []
        body = plain[found.end() :] if found else plain
        name = quoted[1] if quoted else re.split(r"[ (<{]", body, maxsplit=1)[0]
        operation = Operation(name, [], [], _attributes(body), body, strings, place)
        if name == "scf.for":
            self._loop(operation, names, body)
        elif name == "scf.while":
            self._while(operation, names, body)
        elif name == "scf.if":
            self._if(operation, names, body)
        elif body.endswith("({"):
            operation.operands = self._used(
                _OPERANDS.findall(body.partition("<{")[0].split(")")[0])
            )
            operation.regions.append(self._blocks())
            tail, operation.line = self._locations.strip(self.now)
            self._give(operation, names, types_in(tail.rpartition("->")[2]))
        elif name in ("cf.br", "cf.cond_br"):
            self._branch(operation, body)
        elif body.endswith("{"):
            self._refuse()
        else:
            head, signature = _signature(body)
            operation.operands = self._used(_OPERANDS.findall(head))
            self._give(operation, names, self._results(operation, len(names), signature))
        return operation

    def _give(self, operation: Operation, names: list[str], types: list[Type]) -> None:
        if len(names) != len(types):
            self._refuse()
        operation.results = self._defined(list(zip(names, types, strict=True)))

    def _defined(self, values: list[tuple[str, Type]]) -> list[tuple[str, Type]]:
        """Values under names of their own: regions beside each other use the same ones."""
        found = []
        for name, kind in values:
            self._count += 1
            self._known[name] = f"{name}~{self._count}"
            self._types[self._known[name]] = kind
            found.append((self._known[name], kind))
        return found

    def _used(self, names: Iterable[str]) -> list[str]:
        """The same names for what was defined before; a block may be named before it comes."""
        return [self._known.get(name, name) for name in names]

    def _results(self, operation: Operation, count: int, signature: str) -> list[Type]:
        if not count:
            return []
        for arrow in ("->", " to "):
            if arrow in signature:
                types = types_in(signature.rpartition(arrow)[2])
                return types * count if len(types) == 1 else types
        if not signature and operation.name == "arith.constant":
            return [Type("i1")]  # true and false are written without their type
        listed = types_in(signature)
        found = listed[0] if operation.name in ("tt.addptr", "tt.load") else listed[-1]
        if operation.name == "tt.load":
            found = Type("ptr" if found.pointee == "ptr" else found.pointee, found.shape)
        elif operation.name in ("arith.cmpi", "arith.cmpf"):
            found = Type("i1", found.shape)
        return [found] * count

    def _loop(self, operation: Operation, names: list[str], body: str) -> None:
        head = _LOOP.match(body)
        if not head:
            self._refuse()
        operation.operands = self._used([head[2], head[3], head[4]])
        rest = body[head.end() :]
        carried: list[tuple[str, str]] = []
        if " iter_args(" in rest:
            inner, _, rest = rest.partition(" iter_args(")[2].partition(") -> ")
            carried = re.findall(rf"({_NAME}) = ({_NAME})", inner)
            closing = rest.rindex(")") if rest.startswith("(") else len(rest)
            types = types_in(rest[:closing])
        else:
            types = []
        operation.operands += self._used(value for _, value in carried)
        step = self._types[operation.operands[2]]
        arguments = self._defined(
            [(head[1], step), *((n, t) for (n, _), t in zip(carried, types, strict=True))]
        )
        blocks = self._blocks()
        blocks[0].arguments = arguments
        operation.regions.append(blocks)
        tail, line = self._locations.strip(self.now)
        operation.line = line or operation.line
        operation.attributes.update(_attributes(tail))
        self._give(operation, names, types)

    def _while(self, operation: Operation, names: list[str], body: str) -> None:
        head, signature = _signature(body.removesuffix("{").strip())
        carried = re.findall(rf"({_NAME}) = ({_NAME})", head)
        operation.operands = self._used(value for _, value in carried)
        before, _, after = signature.partition("->")
        given = types_in(before)
        arguments = self._defined([(n, t) for (n, _), t in zip(carried, given, strict=True)])
        first = self._blocks()
        first[0].arguments = arguments
        if not self.now.startswith("} do"):
            self._refuse()
        operation.regions += [first, self._blocks()]
        operation.line = self._locations.strip(self.now)[1] or operation.line
        self._give(operation, names, types_in(after))

    def _if(self, operation: Operation, names: list[str], body: str) -> None:
        operation.operands = self._used(_OPERANDS.findall(body.partition("->")[0])[:1])
        types = types_in(body.partition("->")[2].removesuffix("{")) if "->" in body else []
        operation.regions.append(self._blocks())
        if self.now.startswith("} else"):
            operation.regions.append(self._blocks())
        operation.line = self._locations.strip(self.now)[1] or operation.line
        self._give(operation, names, types)

    def _branch(self, operation: Operation, body: str) -> None:
        if operation.name == "cf.cond_br":
            operation.operands = self._used(_OPERANDS.findall(body.partition(",")[0]))
        for label, values in _TARGET.findall(body):
            used = self._used(_OPERANDS.findall(values.partition(":")[0]))
            operation.targets.append((label, used))


def _names(text: str) -> list[str]:
    """Names of results; `%a:2` stands for `%a#0` and `%a#1`."""
    names = []
    for part in text.split(", "):
        name, _, count = part.partition(":")
        names += [f"{name}#{i}" for i in range(int(count))] if count else [name]
    return names


def _signature(body: str) -> tuple[str, str]:
    """An operation up to its types, and these."""
    depth = 0
    for place in range(len(body) - 1, 0, -1):
        char = body[place]
        if char in ")}]" or (char == ">" and body[place - 1] != "-"):
            depth += 1
        elif char in "({[<":
            depth -= 1
        elif char == ":" and not depth and body[place - 1] == " ":
            return body[:place], body[place + 1 :].strip()
    return body, ""


def _attributes(body: str) -> dict[str, str]:
    """The attributes in braces."""
    found: dict[str, str] = {}
    start = body.find("{")
    while start >= 0:
        depth, end = 1, start + 1
        while depth and end < len(body):
            depth += {"{": 1, "}": -1}.get(body[end], 0)
            end += 1
        for part in split(body[start + 1 : end - 1]):
            name, _, value = part.strip().partition(" = ")
            if name and not name.startswith("%"):
                found[name] = re.sub(r" : [iu]\d+$", "", value)
        start = body.find("{", end)
    return found
