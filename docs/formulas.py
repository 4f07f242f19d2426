"""Equations of docstrings as MathML, which browsers draw without a script or a font from elsewhere.

A docstring writes `t = B / (N b) + c_i^2`: letters with `_` have an index, `^` an exponent, what stands side by side is
multiplied, words are words. A slash becomes a fraction where one factor follows it, so that nothing has to be guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from xml.sax.saxutils import escape

TOKEN = re.compile(r"`[^`]*`|\d+(?:\.\d+)?(?:e-?\d+)?|[A-Za-z]\w*(?:-\w+)*|\.\.\.|[<>]=|\S")
EQUATION = re.compile(r"^(?:[A-Z][a-z]+: +)?(?:[A-Za-z][\w^]*(?: / \w+)?(?:\([^()]*\))? = |sum [a-z])")
"""How a paragraph begins that is an equation: a symbol and =, perhaps after what it is of; or a sum."""

REMARK = re.compile(
    r"\s+(\((?:[A-Z][\w'-]+|smooth|exact|vllm)[ ;].*\))\s*$|[,;]\s+(?=[`a-z_]+ [a-z]+ [a-z]+)([^=]*)$", re.DOTALL
)
"""Words at the end, in brackets or behind a comma: where an equation is from, when it holds."""

GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "lambda": "λ", "phi": "φ", "rho": "ρ", "tau": "τ", "sigma": "σ"}
SIGNS = {"*": "×", "-": "−", "<=": "≤", ">=": "≥", "...": "⋯"}
FUNCTIONS = ("exp", "log", "log2", "max", "min", "floor", "sqrt", "cap")
OPENING, CLOSING = "([{", ")]}"
BREAKS = ("+", "-", "=", ",", ";", "<", ">", "<=", ">=", "*", "×", "/", ":", "|", "...", *CLOSING)
"""What a product ends at."""


def equations(text: str) -> list[str]:
    """The equations of a docstring: paragraphs that begin as one, the lines of each joined.

    >>> equations("Time of a step.\\n\\nt = B / b\\n\\nB: bytes.")
    ['t = B / b']
    """
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line.strip() for line in paragraph.strip().splitlines()]
        if EQUATION.match(lines[0] if lines else ""):
            found += _whole(lines)
    return found


def _whole(lines: list[str]) -> list[str]:
    """Equations of lines that begin one or go on with the one before."""
    found = [lines[0]]
    for line in lines[1:]:
        if EQUATION.match(line):
            found.append(line)
        else:
            found[-1] += f" {line}"
    return found


def with_equations(text: str) -> str:
    """A page with the equations of each of its blocks of plain text drawn above the block."""
    block = re.compile(r"^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return block.sub(lambda found: "".join(map(drawn, equations(found[1]))) + found[0], text)


def drawn(equation: str) -> str:
    """An equation as a block of HTML, with the words that follow it."""
    remark = REMARK.search(equation)
    body = equation[: remark.start()] if remark else equation
    said = f" <small>{escape(' '.join((remark[1] or remark[2]).split()))}</small>" if remark else ""
    return f'<div class="equation">{mathml(" ".join(body.split()))}{said}</div>\n\n'


def mathml(equation: str) -> str:
    """MathML of an equation in plain text.

    >>> mathml("t = B / b_i").removeprefix('<math display="block">')
    '<mi>t</mi><mo>=</mo><mfrac><mi>B</mi><mrow><msub><mi>b</mi><mi>i</mi></msub></mrow></mfrac></math>'
    """
    found = EquationReader(TOKEN.findall(equation))
    return f'<math display="block">{found.expression()}</math>'


@dataclass(slots=True)
class EquationReader:
    """Reads an equation from left to right. tokens: its words, numbers and signs."""

    tokens: list[str]
    at: int = 0

    def peek(self, ahead: int = 0) -> str:
        """The next token, or nothing at the end."""
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ""

    def take(self) -> str:
        """The next token, which is done with."""
        self.at += 1
        return self.tokens[self.at - 1]

    def expression(self, end: str = "") -> str:
        """Everything up to the token `end`: products, and the signs between them."""
        found = []
        while self.peek() and self.peek() != end:
            if self.peek() in BREAKS:
                sign = self.take()
                found.append(f"<mo>{escape(SIGNS.get(sign, sign))}</mo>")
            else:
                found.append(self.quotient())
        return "".join(found)

    def quotient(self) -> str:
        """A product, over what it is divided by where that is a factor alone; else the slashes stay."""
        parts = [self.product()]
        while self.peek() == "/" and self.peek(1) not in ("", *BREAKS):
            self.take()
            parts.append(self.product())
        if any(len(below) > 1 for below in parts[1:]):
            return "<mo>/</mo>".join(map("".join, parts))
        top = "".join(parts[0])
        for (below,) in parts[1:]:
            top = f"<mfrac>{_row(_bare(top))}{_row(_bare(below))}</mfrac>"
        return top

    def product(self) -> list[str]:
        """Factors that stand side by side."""
        found = [self.factor()]
        while self.peek() and self.peek() not in BREAKS:
            times = self.peek() == "x" and self.peek(1) not in ("", *BREAKS)
            if times:
                self.take()
            found += ["<mo>×</mo>" if times else "<mspace width='0.17em'/>", self.factor()]
        return found

    def factor(self) -> str:
        """A symbol, a number, a word or a bracket, with its exponent."""
        base = self.atom()
        if self.peek() != "^":
            return base
        self.take()
        power = self.power()
        if base.startswith("<msub>"):
            return f"<msubsup>{base.removeprefix('<msub>').removesuffix('</msub>')}{power}</msubsup>"
        return f"<msup>{_row([base])}{power}</msup>"

    def power(self) -> str:
        """What follows ^: a signed atom."""
        minus = "<mo>−</mo>" if self.peek() == "-" and self.take() else ""
        return _row([minus, _bare(self.atom())])

    def atom(self) -> str:
        """One symbol, number, word or bracket."""
        token = self.take()
        if token in OPENING:
            return self.bracket(token)
        if token == "sqrt" and self.peek() == "(":
            return f"<msqrt>{_bare(self.bracket(self.take()))}</msqrt>"
        if token in FUNCTIONS and self.peek() == "(":
            return f"<mrow>{_symbol(token)}{self.bracket(self.take())}</mrow>"
        return _symbol(token)

    def bracket(self, opening: str) -> str:
        """What stands in brackets, with them."""
        closing = CLOSING[OPENING.index(opening)]
        inner = self.expression(closing)
        if self.peek():
            self.take()
        return f"<mrow><mo>{opening}</mo>{inner}<mo>{closing}</mo></mrow>"


def _row(parts: str | list[str]) -> str:
    """Several elements as one; one that is one already stays."""
    whole = "".join(parts)
    return whole if re.fullmatch(r"<(m[ion]|mtext)>[^<]*</\1>", whole) else f"<mrow>{whole}</mrow>"


def _bare(element: str) -> str:
    """An element without the round brackets around all of it, where its place says as much."""
    found = re.fullmatch(r"<mrow><mo>\(</mo>(.*)<mo>\)</mo></mrow>", element)
    return f"<mrow>{found[1]}</mrow>" if found and _balanced(found[1]) else element


def _balanced(inner: str) -> bool:
    """Whether every bracket inside closes inside."""
    depth = 0
    for sign in re.findall(r"<mo>([()])</mo>", inner):
        depth += 1 if sign == "(" else -1
        if depth < 0:
            return False
    return depth == 0


def _symbol(token: str) -> str:
    """A number, a letter with its index, a function or a word."""
    if token[0].isdigit():
        return f"<mn>{token}</mn>"
    if token == "sum":
        return "<mo>∑</mo>"
    base, _, index = token.partition("_")
    if index and (len(base) == 1 or base in GREEK):
        return f"<msub>{_symbol(base)}{_symbol(index) if len(index) == 1 else _word(index)}</msub>"
    if token in GREEK or len(token) == 1:
        kind: Callable[[str], str] = _letter if token.isalpha() else _sign
        return kind(GREEK.get(token, token))
    return f"<mi>{token}</mi>" if token in FUNCTIONS else _word(token)


def _letter(token: str) -> str:
    return f"<mi>{token}</mi>"


def _sign(token: str) -> str:
    return f"<mo>{escape(token)}</mo>"


def _word(token: str) -> str:
    return f"<mtext>{escape(token.strip('`'))}</mtext>"
