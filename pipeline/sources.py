"""What a `.fuse` file given to a command holds, and the network or space that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random

from ..compiler.explore import sample
from ..compiler.pipeline import network
from ..compiler.requirements import unmeasured_violations
from ..compiler.specialise import specialise
from ..ir.decisions import Decision, Setting, UnknownLabel
from ..ir.dims import told
from ..ir.dsl import Program, is_genotype, load, load_genotype
from ..ir.dsl.library import read_source
from ..ir.genotype import Genotype
from ..ir.graph import Graph
from ..ir.levels import Level, LevelGraph, LevelNode, Levels
from ..ir.reach import walk
from .problems import problem

_SAME = "constants that change which decisions are open must be the same in both"


@dataclass(frozen=True)
class Source:
    """A space, or a genotype with its space."""

    file: str
    program: Program
    genotype: Genotype | None = None

    @property
    def kind(self) -> str:
        """`space`, `network` (a space without decisions) or `genotype`."""
        if self.genotype is not None:
            return "genotype"
        return "network" if self.program.graph.settled else "space"

    @property
    def graph(self) -> Graph:
        """The space, or the network that the genotype describes."""
        if self.genotype is None:
            return self.program.graph
        return network(self.program.graph, self.genotype)

    def drawn(self, seed: int) -> Graph:
        """The network; where decisions are open, that of a genotype drawn with this seed."""
        graph = self.graph
        return network(graph) if graph.settled else network(graph, sample(graph, Random(seed)))

    @property
    def network(self) -> Graph:
        """The network. Raises FusegraphError E411 where decisions are open."""
        graph = self.graph
        if graph.settled:
            return network(graph)
        shown = ", ".join(f"`{key}`" for key in list(graph.decisions)[:3])
        more = len(graph.decisions) - 3
        raise problem(
            "E411",
            f"`{graph.name}` has {len(graph.decisions)} open decision"
            f"{'' if len(graph.decisions) == 1 else 's'}, and a network is needed",
            self.file,
            notes=(f"open are {shown}" + (f" and {more} more" if more > 0 else ""),),
            help="give a genotype of it, such as `fusegraph sample` writes, or `--sample SEED`",
        )


def expect_requirements(source: Source) -> None:
    """Raises FusegraphError E412 where a network fails a `require` of its space.

    A required latency is left to the search: it was that of another machine, perhaps.
    """
    space = source.program.graph
    settled = space if source.genotype is None else specialise(space, source.genotype)
    if not settled.settled or not (failed := unmeasured_violations(settled)):
        return
    what = "genotype" if source.genotype is not None else "network"
    raise problem(
        "E412",
        f"this {what} fails a `require` of `{space.name}`",
        source.file,
        notes=tuple(
            f"`{requirement.told}` is asked, and it is {told(left)} against {told(right)}"
            for requirement, left, right in failed
        ),
        help="settle other candidates, or change what is required",
    )


def open_source(file: str | Path, overrides: Mapping[str, str] | None = None) -> Source:
    """The space or the genotype in a `.fuse` file.

    `overrides` are texts for constants of the space. A genotype of a space with other constants is
    carried over to it. Raises FusegraphError: E634 for a file that is no `.fuse` file, E410 where a
    genotype cannot be carried over, and whatever is wrong with the file.
    """
    path = expect_fuse(file)
    if not is_genotype(read_source(path), str(path)):
        return Source(str(path), load(path, overrides))
    program, genotype = load_genotype(path)
    if overrides:
        other = load(program.file, {**program.overrides, **overrides})
        return Source(str(path), other, carry_over(genotype, program, other, str(path)))
    return Source(str(path), program, genotype)


def expect_fuse(file: str | Path) -> Path:
    """The path of a `.fuse` file. Raises FusegraphError E634 for a folder or another kind."""
    path = Path(file)
    if path.is_dir() or path.suffix not in ("", ".fuse"):
        what = "a folder" if path.is_dir() else f"a {path.suffix} file"
        raise problem(
            "E634",
            f"expected a space or a genotype, found {what}",
            path,
            help="give a `.fuse` file",
        )
    return path


def carry_over(genotype: Genotype, old: Program, new: Program, place: str = "") -> Genotype:
    """The genotype for the same space with other constants, such as a larger width.

    Every decision must be open there too and offer what was chosen, by label. Raises FusegraphError
    E410 where it is not so: a decision that vanished would silently change the network.
    """
    if new.graph is old.graph:
        return genotype
    settings: dict[str, Setting] = {}
    for key, setting in genotype.items:
        before, after = old.graph.decisions[key], new.graph.decisions.get(key)
        if after is None:
            raise _lost(f"`{key}` is not open there", new, place)
        try:
            settings[key] = _offered(before, after, setting)
        except UnknownLabel as error:
            raise _lost(f"`{key}` does not offer `{error}` there", new, place) from None
        except ValueError as error:
            room = "set constants with which the levels have room for these nodes"
            raise _lost(str(error), new, place, room) from None
        if not after.admits(settings[key]):
            raise _lost(f"`{key}` takes another number of candidates there", new, place)

    def chosen(decision: Decision) -> Setting:
        if decision.key not in settings:
            raise _lost(f"`{decision.key}` is open there, and not here", new, place)
        return settings[decision.key]

    return Genotype.of(new.graph.digest, walk(new.graph, chosen))


def _offered(before: Decision, after: Decision, setting: Setting) -> Setting:
    """What the other decision calls this setting. Raises UnknownLabel, and ValueError with a
    sentence where it is a levelled graph that cannot be there.

    The nodes of a levelled graph keep their shares of their levels' widths.
    """
    if not (isinstance(before, Levels) and isinstance(after, Levels)):
        return after.parse([before.labels[index] for index in setting])
    new = {level.number: level for level in after.levels}
    nodes: list[LevelNode] = []
    for node in before.graph_of(setting).nodes:
        if node.level not in new:
            raise ValueError(f"`{after.key}` has no level {node.level} there")
        what = f"a node of level {node.level} of `{after.key}`"
        nodes.append(_node_offered(before.level(node.level), new[node.level], node, what))
    try:
        return after.setting_of(LevelGraph(tuple(nodes)))
    except ValueError as error:
        raise ValueError(f"`{after.key}` admits no such graph there: {error}") from None


def _node_offered(there: Level, here: Level, node: LevelNode, what: str) -> LevelNode:
    """The node in the other level. Raises ValueError with a sentence about `what`."""
    settings: list[tuple[str, Setting]] = []
    for name, own in node.attributes:
        try:
            known, found = there.attributes.named(name), here.attributes.named(name)
            settings.append((name, _offered(known, found, own)))
        except KeyError:
            raise ValueError(f"{what} has a decision `{name}` here, and none there") from None
        except UnknownLabel as error:
            raise ValueError(f"{what} has `{name} = {error}`, which is not offered there") from None
    width = Fraction(node.width * here.width, there.width)
    if width not in here.shares:
        share = Fraction(node.width, there.width)
        raise ValueError(
            f"{what} has {share} of the level's width, and {share} of {here.width} is {width}: "
            f"nodes there are {', '.join(map(str, here.shares))} wide"
        )
    return LevelNode(node.level, int(width), node.inputs, tuple(settings))


def _lost(what: str, new: Program, place: str, help: str = _SAME) -> Exception:
    given = ", ".join(f"{name}={text}" for name, text in sorted(new.overrides.items()))
    return problem(
        "E410",
        f"the genotype does not carry over to `{new.graph.name}`"
        + (f" with {given}" if given else ""),
        place or new.file,
        notes=(what,),
        help=help,
    )
