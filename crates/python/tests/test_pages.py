"""What the pages show runs: Python of the README and of the pages, and the notebook, cell by cell."""

import ast
import doctest
import json
import os
import re

import pytest
import resolvent
from conftest import ROOT

PAGES = ["README.md", "crates/python/README.md", "docs/src/python.md", "docs/src/recipes/transformer-lens.md"]
NOTEBOOK = ROOT / "docs/notebooks/where-is-the-answer.ipynb"


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    names = {}
    for block in blocks:
        for statement in ast.parse(block).body:
            value = run(statement, names)
            # `expression  # (9, 14, 192)` is what the expression gives.
            line = block.splitlines()[statement.end_lineno - 1]
            shown = re.search(r"#\s+(\([^()]*\)|'[^']*'|\"[^\"]*\"|True|False)(:|$)", line)
            if shown and isinstance(statement, ast.Expr):
                assert value == ast.literal_eval(shown[1]), line


def run(statement, names):
    """Runs a statement and returns the value that it has, if it is an expression."""
    if isinstance(statement, ast.Expr):
        return eval(compile(ast.Expression(statement.value), "<page>", "eval"), names)
    exec(compile(ast.Module([statement], []), "<page>", "exec"), names)
    return None


def test_the_notebook_runs_cell_by_cell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 5
    names, drawn = {}, 0
    for cell in cells:
        last = None
        for statement in ast.parse(cell).body:
            last = run(statement, names)
        if hasattr(last, "_repr_html_"):
            html = last._repr_html_()
            drawn += "<svg" in html
    assert drawn >= 2, "a notebook shows our own figures"
    assert not any(cell.get("outputs") for cell in notebook["cells"]), "outputs are made, not kept"
    assert os.listdir(tmp_path) == []


def test_the_example_of_the_package_runs():
    tried = doctest.testmod(resolvent)
    assert tried.attempted >= 4 and not tried.failed
