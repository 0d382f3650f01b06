"""The bank of shared weights: what candidates inherit from those trained before them.

MFAS, section 3.2, "Weight sharing of fusion layers": the weights of layer l start from those that
the last candidate with a layer l of the same size ended with; weights are shared only among
matrices of the same layer. What is shared is a whole module (a matrix with its bias); its key is
(layer, variant, module, shapes): the layer number and both widths of the paper, and the activation
of the release where a searcher gives `SharedLayer.variant`.

The bank is rebuilt on resuming by recording the stored weights of all trials in their order.

A child of an evolution starts from the weights of one trial instead, `ParentWeights`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from ..backends.names import state_name
from .protocol import Array, Proposal, SharedLayer

_Shapes = tuple[tuple[str, tuple[int, ...]], ...]
_Key = tuple[SharedLayer, str, _Shapes]


class WeightBank:
    """The weights that were trained last, by layer, module and shapes."""

    def __init__(self) -> None:
        self._modules: dict[_Key, Mapping[str, Array]] = {}

    def __len__(self) -> int:
        return len(self._modules)

    def view(self, proposal: Proposal) -> InheritedWeights:
        """What this proposal may start from, as things stand now."""
        return InheritedWeights(dict(self._modules), proposal.shares)

    def record(self, proposal: Proposal, weights: Mapping[str, Array]) -> None:
        """Keep what a trial ended with: the last one wins."""
        shapes = {name: array.shape for name, array in weights.items()}
        for key, names in _modules_in(shapes, proposal.shares).items():
            self._modules[key] = {leaf: weights[name] for leaf, name in names.items()}


@dataclass(frozen=True, slots=True)
class InheritedWeights:
    """The bank through the eyes of one proposal; without arguments, an empty one."""

    modules: Mapping[_Key, Mapping[str, Array]] = field(
        default_factory=dict[_Key, Mapping[str, Array]]
    )
    shares: tuple[SharedLayer, ...] = ()

    def matching(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, Array]:
        """Those of the named weights whose module was shared with exactly these shapes."""
        found: dict[str, Array] = {}
        for key, names in _modules_in(shapes, self.shares).items():
            known = self.modules.get(key, {})
            found |= {name: known[leaf] for leaf, name in names.items() if leaf in known}
        return found


@dataclass(frozen=True, slots=True)
class ParentWeights:
    """The weights of one trial, by name; `renamed` as in `Parent`.

    A module (a convolution, a batch norm) is inherited whole, where all of its shapes agree, or not
    at all.
    """

    read: Callable[[], Mapping[str, Array]]
    renamed: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def matching(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, Array]:
        """Those of the named weights whose module the trial has with exactly these shapes."""
        weights = self.read()
        paths = sorted(
            [(state_name(key), [*map(state_name, others)]) for key, others in self.renamed],
            key=lambda pair: -len(pair[0]),
        )
        modules: dict[str, list[str]] = {}
        for name in shapes:
            modules.setdefault(name.rpartition(".")[0], []).append(name)
        found: dict[str, Array] = {}
        for module, names in modules.items():
            for other in _in_parent(module, paths):
                theirs = {name: other + name[len(module) :] for name in names}
                if all(
                    there in weights and tuple(shapes[name]) == weights[there].shape
                    for name, there in theirs.items()
                ):
                    found |= {name: weights[there] for name, there in theirs.items()}
                    break
        return found


def _in_parent(module: str, paths: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """What a module may be called in the parent; `paths` has the longest first."""
    for path, others in paths:
        if module == path or module.startswith(path + "."):
            return [other + module[len(path) :] for other in others]
    return [module]


def shared_modules(
    shapes: Mapping[str, Sequence[int]], shares: tuple[SharedLayer, ...]
) -> frozenset[Hashable]:
    """What stands for the modules that a candidate with weights of these shapes inherits, where
    there are any, and leaves to others.
    """
    return frozenset(_modules_in(shapes, shares))


def _modules_in(
    shapes: Mapping[str, Sequence[int]], shares: tuple[SharedLayer, ...]
) -> dict[_Key, dict[str, str]]:
    """The modules of shared layers among these weights: name within the module -> whole name."""
    members: dict[tuple[SharedLayer, str], dict[str, str]] = {}
    for name in shapes:
        dotted = _dotted(name)
        for layer in shares:
            paths = (_dotted(layer.path) + ".", state_name(layer.path) + ".")
            if dotted.startswith(paths):
                module, _, leaf = dotted.rpartition(".")
                members.setdefault((layer, module), {})[leaf] = name
                break
    return {
        (layer, module, tuple(sorted((leaf, tuple(shapes[n])) for leaf, n in names.items()))): names
        for (layer, module), names in members.items()
    }


def _dotted(path: str) -> str:
    """`h[1].linear` as `h.1.linear`: keys have brackets, names in a `state_dict` have none."""
    return re.sub(r"\[([^\]]*)\]", r".\1", path)
