"""`emit`: a network as a file of Python that needs only torch."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.resources import files
from textwrap import wrap

from ...compiler.cost import cost
from ...ir.graph import Graph
from .layout import Call, statement
from .lowering import literal, path_expression
from .names import HELPERS, class_name
from .program import INDENT, Program, program


def emit(graph: Graph, name: str | None = None) -> str:
    """The text of a file with the network as a class of this name (the graph's where not given).

    Its `forward` is that of `lower(graph)`, and so are the names in its `state_dict`: weights go
    from one to the other. Raises what `lower` raises.
    """
    plan = program(graph)
    title = class_name(name or graph.name)
    body = [f"class {title}(nn.Module):"]
    body += [
        f'    """The network `{_plain(graph.name)}`."""',
        "",
        "    def __init__(self) -> None:",
    ]
    body += [f"{INDENT}super().__init__()", *_constructed(plan), "", *plan.signature, *plan.body]
    text = "\n".join(body)
    helpers = [source for helper, source in _sources().items() if re.search(rf"\b{helper}\(", text)]
    used = "\n".join([*helpers, text])
    imports = [f"import {module}" for module in ("functools", "math") if f"{module}." in used]
    torch = ["import torch"] if "torch." in used else []
    torch += ["import torch.nn.functional as F"] if re.search(r"\bF\.", used) else []
    head = ["from __future__ import annotations"]
    blocks = [head, imports, [*torch, "from torch import Tensor, nn"]]
    parts = [_docstring(graph, plan, title), *["\n".join(block) for block in blocks if block]]
    return "\n\n".join(parts) + "\n\n\n" + "\n\n\n".join([*helpers, text]) + "\n"


def _plain(text: str) -> str:
    """Text that may stand in a docstring: letters, digits and harmless signs."""
    return "".join(
        [c if c.isascii() and c.isprintable() and c not in '\\"`' else "_" for c in text]
    )


def _docstring(graph: Graph, plan: Program, title: str) -> str:
    count = cost(graph).parameters
    lines = _wrapped(f'"""{title}: a network from the space `{_plain(graph.name)}`.', "")
    lines += ["", f"Digest {graph.digest}, {count:,} parameters.", "", "Inputs:"]
    for node, name in zip(graph.inputs, plan.parameters, strict=True):
        told = "" if name == node["name"] else f", `{_plain(node['name'])}` in the space"
        lines += _wrapped(f"    {name}: {_plain(node.type.text)}{told}")
    lines += ["Outputs:"]
    for name, node in graph.outputs:
        lines += _wrapped(f"    {_plain(name)}: {_plain(node.type.text)}")
    lines += [
        "",
        "Written by fusegraph. The names in the `state_dict` are those of its own networks:",
    ]
    lines += ["weights that were trained there load here, and the other way round.", '"""']
    return "\n".join(lines)


def _wrapped(line: str, indent: str = " " * 8) -> list[str]:
    return wrap(line, 98, subsequent_indent=indent)


def _constructed(plan: Program) -> list[str]:
    """The lines of `__init__` that make the tree of modules."""
    owners = {entry.path for entry in plan.modules if entry.make is not None}
    lines: list[str] = []
    for entry in plan.modules:
        made = entry.make.text if entry.make is not None else Call("Scope", [])
        *above, name = entry.path
        place = path_expression(tuple(above), owners)
        if name.isdigit() and tuple(above) in owners:
            lines += statement("", Call(f"{place}.add_module", [f'"{name}"', made]), INDENT)
        else:
            place = f"{place}[{name}]" if name.isdigit() else f"{place}.{name}"
            lines += statement(f"{place} = ", made, INDENT)
        if entry.make is not None and entry.make.start is not None:
            function, options = entry.make.start
            weight = f"{path_expression(entry.path, owners)}.weight"
            arguments = [weight, *[f"{name}={literal(value)}" for name, value in options]]
            lines += statement("", Call(f"nn.init.{function}", arguments), INDENT)
    return lines


@cache
def _sources() -> dict[str, str]:
    """The text of each helper, as it stands in `modules.py`."""
    text = (files(__package__ or "") / "modules.py").read_text(encoding="utf-8")
    return {
        part.name: ast.get_source_segment(text, part) or ""
        for part in ast.parse(text).body
        if isinstance(part, (ast.ClassDef, ast.FunctionDef)) and part.name in HELPERS
    }
