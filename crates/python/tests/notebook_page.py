"""The page of the book that shows the notebook with its output.

`python crates/python/tests/notebook_page.py` writes it.
"""

import ast
import json
import os
import re
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOK = ROOT / "docs/notebooks/where-is-the-answer.ipynb"
PAGE = ROOT / "docs/src/recipes/where-is-the-answer.md"
FIGURES = ROOT / "docs/src/figures"


def execute(statement, names):
    """Runs a statement and, if it is an expression, returns its value."""
    if isinstance(statement, ast.Expr):
        return eval(compile(ast.Expression(statement.value), "<page>", "eval"), names)
    exec(compile(ast.Module([statement], []), "<page>", "exec"), names)
    return None


def rendered():
    """Runs the notebook in a fresh folder, and returns the page's text and its figures by name."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    parts, figures, names, before = [], {}, {}, os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for cell in cells:
                source = "".join(cell["source"])
                parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
                if cell["cell_type"] == "code":
                    parts += output(source, names, figures)
        finally:
            os.chdir(before)
    notebook = NOTEBOOK.relative_to(ROOT).as_posix()
    note = f"The outputs on this page are those of the notebook `{notebook}`, which the tests run."
    return "\n\n".join([parts[0], note, *parts[1:]]) + "\n", figures


def output(source, names, figures):
    """Runs a cell, and returns what its last expression shows: its text, and the figures of results and runs."""
    value = None
    for statement in ast.parse(source).body:
        value = execute(statement, names)
    if value is None:
        return []
    # The device depends on the machine.
    text = re.sub(r", on [^>]*>", ">", repr(value))
    shown = [f"```text\n{textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False)}\n```"]
    html = value._repr_html_() if hasattr(value, "_repr_html_") else ""
    for figure in re.findall(r"<svg.*?</svg>", html, re.S):
        name = f"{NOTEBOOK.stem}-{len(figures) + 1}.svg"
        # The book shows figures as images, which have no tooltips.
        figures[name] = re.sub(r"<title>.*?</title>", "", figure, flags=re.S) + "\n"
        shown.append(f"![{words(figure)}](../figures/{name})")
    return shown


def words(figure):
    """Returns the title of a figure: its first text."""
    found = re.search(r"<(?:title|text)[^>]*>(?:<tspan[^>]*>)?([^<]+)", figure)
    return found[1].strip() if found else "figure"


def labels(figure):
    """Returns the texts of a figure."""
    return re.findall(r"<text[^>]*>(.*?)</text>", figure, re.S)


if __name__ == "__main__":
    text, figures = rendered()
    PAGE.write_text(text, encoding="utf-8")
    for name, figure in figures.items():
        (FIGURES / name).write_text(figure, encoding="utf-8")
    print(f"{PAGE}: {len(figures)} figures, {sum(map(len, figures.values()))} bytes")
