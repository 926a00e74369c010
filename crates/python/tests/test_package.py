"""The wheel as a package: its contents, and stubs that match them."""

import ast
import importlib.metadata
import importlib.util
import inspect
import pathlib
import re

import resolvent

HERE = pathlib.Path(resolvent.__file__).parent
STUBS = [
    node
    for name in ("__init__.pyi", "_results.pyi", "distribute.pyi")
    for node in ast.parse((HERE / name).read_text(encoding="utf-8")).body
]
# The classes of mapped results are not names of the package; the function that opens them is.
MAPPED = ast.parse((HERE / "_mapped.pyi").read_text(encoding="utf-8")).body
STUBS += [node for node in MAPPED if isinstance(node, ast.FunctionDef)]


def test_the_wheel_is_tested_instead_of_the_sources():
    assert "site-packages" in HERE.parts
    assert pathlib.Path(__file__).parents[1] not in HERE.parents


def test_the_wheel_is_typed_abi3_and_needs_no_torch():
    assert (HERE / "py.typed").is_file()
    native = importlib.util.find_spec("resolvent._native").origin
    assert native.endswith((".abi3.so", ".pyd"))
    distribution = importlib.metadata.distribution("resolvent")
    tag = [line for line in distribution.read_text("WHEEL").splitlines() if line.startswith("Tag:")]
    assert tag and all("cp39-abi3" in line for line in tag)
    metadata = distribution.metadata
    assert len(metadata.get_all("License-File")) == 3
    needed = [r for r in distribution.requires if "extra" not in r]
    assert [r.split(">")[0] for r in needed] == ["numpy"]
    assert resolvent.__version__ == distribution.version


def public(names):
    return {name for name in names if not name.startswith("_")}


def functions(body):
    """Functions of a class or the module by name; overloads count once."""
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


def is_property(node):
    return any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)


def parameters(node):
    a = node.args
    named = a.posonlyargs + a.args
    pairs = [(p.arg, d) for p, d in zip(named, [None] * (len(named) - len(a.defaults)) + a.defaults)]
    pairs += [("*", None)] if a.kwonlyargs else []
    pairs += [(p.arg, d) for p, d in zip(a.kwonlyargs, a.kw_defaults)]
    return [(name, default) for name, default in pairs if name not in ("self", "cls")]


def same_parameters(name, function, node):
    signature = inspect.signature(function)
    there, star = [], False
    for p in signature.parameters.values():
        if p.name in ("self", "cls", "$self"):
            continue
        if p.kind is p.KEYWORD_ONLY and not star:
            there.append(("*", p.empty))
            star = True
        there.append((p.name, p.default))
    stub = parameters(node)
    # Operators name their parameters differently.
    if not name.split(".")[-1].startswith("__"):
        assert [n for n, _ in there] == [n for n, _ in stub], name
    for (parameter, real), (_, written) in zip(there, stub):
        where = f"{name}({parameter})"
        assert (real is inspect.Parameter.empty) == (written is None), where
        if written is not None:
            assert real == ast.literal_eval(written), where


def test_stubs_match_the_package():
    classes = {node.name: node for node in STUBS if isinstance(node, ast.ClassDef) and node.name[0] != "_"}
    stubbed = public(set(classes) | set(functions(STUBS)))
    assert stubbed == public(resolvent.__all__) == public(dir(resolvent))
    in_python = {"Work", "distribute", "open_results"}
    assert public(resolvent.__all__) - in_python <= public(dir(resolvent._native))
    for name, node in functions(STUBS).items():
        same_parameters(name, getattr(resolvent, name), node)
    for name, node in classes.items():
        cls, attributes = getattr(resolvent, name), functions(node.body)
        if issubclass(cls, Exception):
            continue
        assert public(attributes) == public(vars(cls)), name
        for attribute, stub in attributes.items():
            if attribute == "__new__":
                same_parameters(name, cls, stub)
            elif is_property(stub):
                assert not callable(vars(cls)[attribute]), f"{name}.{attribute} is not a property"
            elif attribute not in ("__getitem__", "__contains__"):
                same_parameters(f"{name}.{attribute}", getattr(cls, attribute), stub)
            else:
                assert hasattr(cls, attribute)


def test_stubs_take_numbers_of_numpy():
    """`int` and `float` of a parameter would refuse `np.int64(2)`, which the functions take."""
    seen, wrong = 0, []
    for path in sorted(HERE.glob("*.pyi")):
        parsed = ast.parse(path.read_text())
        classes = [node for node in parsed.body if isinstance(node, ast.ClassDef)]
        for body in [parsed.body, *(node.body for node in classes)]:
            for node in functions(body).values():
                for one in node.args.posonlyargs + node.args.args + node.args.kwonlyargs:
                    text = ast.unparse(one.annotation) if one.annotation else ""
                    seen += 1
                    # What a function of the user is called with is no number of theirs.
                    if "Callable" not in text and re.search(r"\b(int|float)\b", text):
                        wrong.append(f"{path.name}: {node.name}({one.arg}: {text})")
    assert seen > 300 and not wrong, wrong


def test_everything_public_has_a_docstring_and_arrays_have_shapes():
    for name in public(resolvent.__all__):
        thing = getattr(resolvent, name)
        assert thing.__doc__, name
        for attribute in public(vars(thing)) if inspect.isclass(thing) and not issubclass(thing, Exception) else ():
            assert getattr(thing, attribute).__doc__, f"{name}.{attribute}"
    for method in ("field", "logits", "sensitivity", "green", "slice", "regime", "invert", "transfer"):
        assert "[" in getattr(resolvent.Run, method).__doc__, method
