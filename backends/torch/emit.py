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
from .names import class_name
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
    helpers = _needed(text)
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


def _needed(text: str) -> list[str]:
    """The helpers that the text calls, and those that these call, as they stand in their files."""
    sources = _sources()
    found: set[str] = set()
    pending = [text]
    while pending:
        words = set(re.findall(r"\b(\w+)[(.]", pending.pop()))
        new = [name for name in sources if name in words and name not in found]
        found.update(new)
        pending += [sources[name] for name in new]
    return [source for name, source in sources.items() if name in found]


@cache
def _sources() -> dict[str, str]:
    """The text of each helper, by name."""
    found: dict[str, str] = {}
    for file in ("modules.py", "stacked.py"):
        text = (files(__package__ or "") / file).read_text(encoding="utf-8")
        for part in ast.parse(text).body:
            if isinstance(part, (ast.ClassDef, ast.FunctionDef)):
                lines = [ast.get_source_segment(text, d) for d in part.decorator_list]
                body = ast.get_source_segment(text, part) or ""
                found[part.name] = "\n".join([*[f"@{line}" for line in lines], body])
    return found
