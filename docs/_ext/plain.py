"""Read docstrings as the plain text they are, so that an equation need not be escaped where it is written.

Nothing is markup but what a reader of the source takes for it:

    lines after "- " or "* "          a list
    lines after "beta: "              a list of labels
    a block that begins with "x = "   an equation, shown as it stands, as is what is indented
    `backticks`                       code

Everything else is a paragraph, and means what it says: beta * log pi_ref(y|x).
"""

import re
import textwrap
from collections.abc import Iterator

from sphinx.application import Sphinx

CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
MARKUP = re.compile(r"([\\*_|`])")
BULLET = re.compile(r"^[-*] ")
LABEL = re.compile(r"^([a-z]\w*): ")
EQUATION = re.compile(r"^\w[^\s=.:]* = ")


def prose(text: str) -> str:
    """Escape what would be markup, and keep code in backticks."""
    text = " ".join(text.split())
    done, parts = 0, list[str]()
    for code in CODE.finditer(text):
        parts += [MARKUP.sub(r"\\\1", text[done : code.start()]), f"\\ ``{code[2].strip()}``\\ "]
        done = code.end()
    return "".join([*parts, MARKUP.sub(r"\\\1", text[done:])])


def blocks(lines: list[str]) -> Iterator[list[str]]:
    """Cut at blank lines, and where indentation begins or ends (a list keeps its indented lines)."""
    block: list[str] = []
    for line in [*lines, ""]:
        listed = bool(block) and any(kind.match(block[0]) for kind in (BULLET, LABEL, EQUATION))
        turned = bool(block) and not listed and line.startswith(" ") != block[0].startswith(" ")
        begins = bool(block) and not listed and bool(BULLET.match(line))
        if block and (not line.strip() or turned or begins):
            yield block
            block = []
        if line.strip():
            block.append(line)


def items(block: list[str], start: re.Pattern[str]) -> list[str]:
    """Join the lines of a list that belong to one item."""
    found: list[str] = []
    for line in block:
        if start.match(line):
            found.append(line)
        else:
            found[-1] += f" {line}"
    return found


def convert(lines: list[str]) -> list[str]:
    """Turn a plain docstring into the markup that Sphinx reads."""
    out: list[str] = []
    for block in blocks(lines):
        if block[0].startswith(" ") or EQUATION.match(block[0]):
            verbatim = textwrap.dedent("\n".join(block)).splitlines()
            out += ["::", "", *(f"   {line}" for line in verbatim)]
        elif BULLET.match(block[0]):
            out += [f"- {prose(item[2:])}" for item in items(block, BULLET)]
        elif LABEL.match(block[0]):
            labelled = [item.split(": ", 1) for item in items(block, LABEL)]
            out += [f"- **{prose(label)}**: {prose(text)}" for label, text in labelled]
        else:
            out.append(prose(" ".join(block)))
        out.append("")
    return out


def process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Convert in place, as Sphinx asks."""
    lines[:] = convert(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
