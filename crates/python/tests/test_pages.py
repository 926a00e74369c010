"""Runs the Python of the README and of the pages, and the notebook cell by cell."""

import ast
import doctest
import json
import os
import re

import notebook_page
import pytest
import resolvent
from conftest import ROOT
from notebook_page import NOTEBOOK, execute

PAGES = [
    "README.md",
    "crates/python/README.md",
    *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs/src").rglob("*.md")),
]
# Pages with blocks that are marked `no_run`, because they download or start processes.
NOT_RUN = ["docs/src/recipes/large-runs.md", "docs/src/recipes/model-directory.md"]


def blocks_of(page):
    """Returns the Python blocks of a page, each with the text that follows `python` on the line of its fence."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python([^\n]*)\n(.*?)^```", text, re.M | re.S)


SHOWN = [page for page in PAGES if any(info == "" for info, _ in blocks_of(page))]


def test_every_block_is_run_or_marked():
    infos = {page: {info for info, _ in blocks_of(page)} for page in PAGES}
    assert set().union(*infos.values()) <= {"", ",no_run"}
    assert [page for page, marks in infos.items() if ",no_run" in marks] == NOT_RUN
    assert len(SHOWN) >= 5


@pytest.mark.parametrize("page", SHOWN)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    # The page on result files reads this file.
    run.sensitivity(resolvent.logit(3)).save("chi.safetensors")
    blocks = [block for info, block in blocks_of(page) if not info]
    names = {}
    for block in blocks:
        for statement in ast.parse(block).body:
            value = execute(statement, names)
            # A comment such as `# (9, 14, 192)` after an expression shows its value.
            line = block.splitlines()[statement.end_lineno - 1]
            shown = re.search(r"#\s+(\([^()]*\)|'[^']*'|\"[^\"]*\"|True|False)(:|$)", line)
            if shown and isinstance(statement, ast.Expr):
                assert value == ast.literal_eval(shown[1]), line


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
            last = execute(statement, names)
        if hasattr(last, "_repr_html_"):
            html = last._repr_html_()
            drawn += "<svg" in html
    assert drawn >= 2, "a notebook shows our own figures"
    assert not any(cell.get("outputs") for cell in notebook["cells"]), "outputs are made, not stored"
    assert os.listdir(tmp_path) == []


NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?")


def assert_alike(found, want):
    """Asserts that two texts are the same but for the last digits of their numbers, which depend on the processor."""
    assert NUMBER.sub("#", found) == NUMBER.sub("#", want)
    for a, b in zip(NUMBER.findall(found), NUMBER.findall(want)):
        assert float(a) == pytest.approx(float(b), rel=2e-2, abs=2e-2), f"{found}\n{want}"


def test_the_book_shows_the_notebook_with_its_output():
    text, figures = notebook_page.rendered()
    assert_alike(text, notebook_page.PAGE.read_text(encoding="utf-8"))
    shown = sorted(path.name for path in notebook_page.FIGURES.glob(f"{NOTEBOOK.stem}-*.svg"))
    assert sorted(figures) == shown and len(shown) >= 3
    for name, figure in figures.items():
        stored = (notebook_page.FIGURES / name).read_text(encoding="utf-8")
        assert len(notebook_page.labels(figure)) > 5
        assert_alike("\n".join(notebook_page.labels(figure)), "\n".join(notebook_page.labels(stored)))
    with pytest.raises(AssertionError):
        assert_alike("J = 1.5", "J = 1.9")


def test_the_example_of_the_package_runs():
    tried = doctest.testmod(resolvent)
    assert tried.attempted >= 4 and not tried.failed
