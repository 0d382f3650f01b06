"""Which nodes are computed together, and in which order they stand in their stack.

Dynamic batching (Looks et al. 2017; Neubig, Goldberg & Dyer 2017, "On-the-fly operation batching"):
nodes of one form, none of which depends on another, are one group. Here it is done once, when the
program is made.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set

from ...ir.node import Node

Groups = list[list[Node]]


def grouped(order: Sequence[Node], given: Set[Node], form_of: Callable[[Node], Hashable]) -> Groups:
    """The nodes of `order`, but those that are `given`, in groups that can be computed in turn.

    Three ways are tried, and the one with the fewest groups wins: by the distance from the inputs,
    by that to the outputs (so that networks of different depths end together), and by an agenda
    that always takes the form whose nodes stand lowest on average.

    Precondition: inputs before users. Postcondition: each group's nodes depend on earlier groups
    alone, and have one form.
    """
    nodes = [node for node in order if node not in given]
    forms = {node: form_of(node) for node in nodes}
    users = users_of(nodes)
    depth: dict[Node, int] = {}
    for node in nodes:
        depth[node] = 1 + max([depth.get(i, -1) for i in node.inputs], default=-1)
    height: dict[Node, int] = {}
    for node in reversed(nodes):
        height[node] = 1 + max([height[user] for user in users.get(node, ())], default=-1)
    ways = (
        _by_level(nodes, forms, depth),
        _by_level(nodes, forms, {node: -height[node] for node in nodes}),
        _by_agenda(nodes, forms, depth, users),
    )
    return min(reversed(ways), key=len)


def users_of(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """By node, those that read it."""
    users: dict[Node, list[Node]] = {}
    for node in nodes:
        for i in dict.fromkeys(node.inputs):
            users.setdefault(i, []).append(node)
    return users


def _by_level(
    nodes: Sequence[Node], forms: Mapping[Node, Hashable], level: Mapping[Node, int]
) -> Groups:
    found: dict[tuple[int, Hashable], list[Node]] = {}
    for node in nodes:
        found.setdefault((level[node], forms[node]), []).append(node)
    return [group for _, group in sorted(found.items(), key=lambda item: item[0][0])]


def _by_agenda(
    nodes: Sequence[Node],
    forms: Mapping[Node, Hashable],
    depth: Mapping[Node, int],
    users: Mapping[Node, Sequence[Node]],
) -> Groups:
    inside = set(nodes)
    waiting = {node: len({i for i in node.inputs if i in inside}) for node in nodes}
    left: dict[Hashable, list[int]] = {}
    for node in nodes:
        total = left.setdefault(forms[node], [0, 0])
        total[0] += depth[node]
        total[1] += 1
    ready: dict[Hashable, list[Node]] = {}
    for node in nodes:
        if not waiting[node]:
            ready.setdefault(forms[node], []).append(node)
    found: Groups = []
    while ready:
        form = min(ready, key=lambda form: left[form][0] / left[form][1])
        group = ready.pop(form)
        found.append(group)
        for node in group:
            left[form][0] -= depth[node]
            left[form][1] -= 1
            for user in users.get(node, ()):
                waiting[user] -= 1
                if not waiting[user]:
                    ready.setdefault(forms[user], []).append(user)
    return found


def ordered(groups: Groups, ends: Sequence[Node]) -> Groups:
    """The groups, the nodes of each in the order in which the groups that read them want them.

    A node that several read follows the first of these. `ends` are read last, in their order. So a
    stack that is read by several groups is cut into consecutive runs, and gathers are few.
    """
    users = users_of([node for group in groups for node in group])
    place: dict[Node, tuple[int, int]] = {}
    last: dict[Node, tuple[int, int]] = {}
    for at, node in enumerate(ends):
        last.setdefault(node, (len(groups), at))
    found: Groups = []
    for number in range(len(groups) - 1, -1, -1):
        wanted = {
            node: min(
                [place[user] for user in users.get(node, ())],
                default=last.get(node, (len(groups) + 1, 0)),
            )
            for node in groups[number]
        }
        group = sorted(groups[number], key=wanted.__getitem__)
        place.update({node: (number, at) for at, node in enumerate(group)})
        found.insert(0, group)
    return found
