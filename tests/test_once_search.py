"""The search over an elastic supernet: how it is trained, what it finds, what it refuses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from math import inf, isnan, nan
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from fusegraph.backends.torch import lower
from fusegraph.backends.torch.elastic import ElasticNetworks
from fusegraph.cli.progress import Watcher
from fusegraph.compiler.explore import enumerate_genotypes, sample
from fusegraph.compiler.requirements import satisfied
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.decisions import Setting
from fusegraph.ir.diagnostics import Diagnostic, FusegraphError
from fusegraph.ir.dsl import loads
from fusegraph.ir.graph import Graph
from fusegraph.pipeline.architecture import architecture_of
from fusegraph.searchers.once import supernet as supernet_module
from fusegraph.searchers.once.heads import heads_of
from fusegraph.searchers.once.options import OnceOptions, PerturbationOptions
from fusegraph.searchers.once.search import OnceSearch
from fusegraph.searchers.once.supernet import Supernet
from fusegraph.searchers.once.topology import Topology, trained_space, uniform
from fusegraph.searchers.parsec.prior import Prior
from fusegraph.searchers.protocol import Epoch
from fusegraph.searchers.randomness import generator
from fusegraph.searchers.registry import make_searcher
from fusegraph.tasks.joint import JointData
from fusegraph.training.containers import read_container, write_container
from fusegraph.training.settings import TrainSettings
from fusegraph.training.steps import Diverged
from gradient_conformance import (
    EDGES,
    LIMITED,
    SETTINGS,
    STATE,
    CountedBatches,
    SmallData,
    run,
)
from searcher_conformance import PROGRESSIVE, space_of
from test_bm_nas_search import PAIRS, ManyLabels, TwoOfFour

JOINT = """fuse 1
space joint {
  dim N
  for i in 1..3 { input x[i]: f32[N, 4] }
  share trunk = linear(out=?width of {4, 8, 16})
  output logits = linear(relu(trunk(x[1])), out=3)
  output digits = linear(?act of {relu, tanh}(trunk(x[2])), out=3)
}
"""

CPU = torch.device("cpu")


@dataclass
class Named(SmallData):
    """Small data that writes down whenever a batch of it is trained on."""

    name: str = ""
    log: list[str] | None = None

    def source(self, split: str, inputs: Iterable[str], **how: Any) -> Any:
        found = super().source(split, inputs, **how)
        return Logged(self, found.batches) if split == "train" else found


class Logged(CountedBatches):
    def epoch(self, generator: Any) -> Any:
        for batch in super().epoch(generator):
            log = cast("Named", self.data).log
            assert log is not None
            log.append(cast("Named", self.data).name)
            yield batch


def joint_data(log: list[str]) -> JointData:
    return JointData(Named(name="logits", log=log), {"digits": Named(name="digits", log=log)})


def perturbation(text: str, seed: int = 0, **options: Any) -> OnceSearch:
    made = make_searcher("perturbation", space_of(text), {"networks": 2, **options}, seed)
    assert isinstance(made, OnceSearch)
    return made


def searched(searcher: OnceSearch, data: Any, settings: TrainSettings = SETTINGS) -> list[Epoch]:
    done = [*searcher.begin(data, settings, None)]
    while not searcher.done:
        done.append(searcher.epoch())
    return done


def supernet_of(
    space: Graph, data: Any, topology: Topology | None = None, **options: Any
) -> Supernet:
    heads = heads_of(space, data, SETTINGS, CPU)
    chosen = OnceOptions(epochs=3, **options)
    return Supernet("perturbation", space, heads, chosen, SETTINGS, CPU, 0, topology)


def refusal(text: str, **options: Any) -> Diagnostic:
    with pytest.raises(FusegraphError) as refused:
        perturbation(text, **options)
    [found] = refused.value.diagnostics
    assert found.help
    assert found.place
    return found


# ── the supernet's training ──────────────────────────────────────────────────────────────────────


def test_data_sets_are_drawn_by_size_and_the_first_alone_in_its_share() -> None:
    log: list[str] = []
    data = joint_data(log)
    settings = SETTINGS.model_copy(update={"batch": 4})
    searcher = perturbation(JOINT, epochs=6, first="digits")
    searcher.begin(data, settings, None)
    passes: list[list[str]] = []
    for _ in range(6):
        log.clear()
        searcher.epoch()
        passes.append([*log])
    assert [Counter(each) for each in passes] == [{"digits": 10}] * 2 + [
        {"digits": 10, "logits": 10}
    ] * 4
    assert len({tuple(each) for each in passes[2:]}) > 1
    assert all(each != sorted(each) for each in passes[2:])


@pytest.mark.parametrize(
    ("share", "epochs", "alone"), [(0.29, 100, 29), (0.3, 10, 3), (1 / 3, 500, 166), (0.0, 9, 0)]
)
def test_the_first_data_set_is_alone_for_its_share_of_the_epochs(
    share: float, epochs: int, alone: int
) -> None:
    options = OnceOptions(epochs=epochs, first="digits", first_share=share)
    heads = heads_of(space := space_of(JOINT), joint_data([]), SETTINGS, CPU)
    supernet = Supernet("perturbation", space, heads, options, SETTINGS, CPU, 0, None)
    each = [len(supernet.heads_at(epoch)) for epoch in range(1, epochs + 1)]
    assert each == [1] * alone + [2] * (epochs - alone)


def test_a_step_moves_what_its_network_reads_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = space_of(JOINT)
    supernet = supernet_of(space, joint_data([]))
    networks = supernet.networks
    moves: list[tuple[Mapping[str, Setting], Sequence[str]]] = []
    real = supernet.optimiser.step

    def step(network: Mapping[str, Setting], rate: float, outputs: Sequence[str]) -> None:
        before = {name: value.detach().clone() for name, value in networks.named_parameters()}
        real(network, rate, outputs)
        read = {id(parameter): cut for parameter, cut in networks.cuts(network, outputs).items()}
        for name, parameter in networks.named_parameters():
            moved = (parameter != before[name]).detach()
            if id(parameter) in read:
                assert read[id(parameter)].of(moved).any()
                read[id(parameter)].put(moved, torch.zeros_like(read[id(parameter)].of(moved)))
            assert not moved.any(), name
        moves.append((network, outputs))

    monkeypatch.setattr(supernet.optimiser, "step", step)
    supernet.epoch(1)
    assert {tuple(outputs) for _, outputs in moves} == {("logits",), ("digits",)}
    assert len({network["width"] for network, _ in moves}) > 1


def test_networks_that_train_weights_are_drawn_uniformly_whatever_alpha_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = space_of(JOINT)
    prior = Prior(space)
    prior.laws["width"].alpha.data.copy_(torch.tensor([30.0, 0.0, 0.0]))
    supernet = supernet_of(space, joint_data([]), Topology(prior, PerturbationOptions()))
    seen: dict[bool, Counter[Setting]] = {True: Counter(), False: Counter()}
    real = ElasticNetworks.run

    def ran(self: ElasticNetworks, networks: Any, *given: Any) -> Any:
        seen[self.training][networks[0]["width"]] += 1
        return real(self, networks, *given)

    monkeypatch.setattr(ElasticNetworks, "run", ran)
    for epoch in range(1, 13):
        supernet.epoch(epoch)
    assert seen[False] == {(0,): 72}
    assert all(12 <= seen[True][(width,)] <= 36 for width in range(3))


@pytest.mark.parametrize("drawn", ["any", "required"])
def test_costs_are_required_of_what_is_drawn_only_where_that_is_asked(drawn: Any) -> None:
    text = LIMITED.replace("?layers of h[*]", "?layers of h[*]").replace(
        "require parameters <= 80", "require parameters <= 40"
    )
    space = space_of(text)
    trained = trained_space(space, drawn)
    fits = {satisfied(space, uniform(trained, generator(seed))) for seed in range(30)}
    assert fits == ({True} if drawn == "required" else {True, False})


def test_what_is_required_of_sizes_holds_for_every_network_that_is_drawn() -> None:
    text = JOINT.replace("output digits", "require size(trunk(x[1]), 1) != 8\n  output digits")
    space = loads(text).graph
    trained = trained_space(space, "any")
    widths = {uniform(trained, generator(seed))["width"] for seed in range(30)}
    assert widths == {(0,), (2,)}


def test_the_learning_rate_rises_over_the_warm_up_and_falls_along_one_cosine() -> None:
    rates = [
        epoch.event.learning_rate
        for epoch in searched(perturbation(EDGES, epochs=8, warmup=0.25), SmallData())[:8]
    ]
    assert rates[0] < rates[1] > rates[2] > rates[7]
    assert rates[1] == pytest.approx(0.03 * 0.9, rel=0.1)
    plain = searched(perturbation(EDGES, epochs=8, warmup=0.0), SmallData())[:8]
    assert [e.event.learning_rate for e in plain[2:]] == rates[2:]


def test_losses_that_are_read_together_tell_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def learnt(together: int, nan_at: int) -> Any:
        monkeypatch.setattr(supernet_module, "read_together", lambda device: together)
        heads = heads_of(space := space_of(JOINT), joint_data([]), SETTINGS, CPU)
        steps = count(1)
        for head in heads:

            def loss(logits: Tensor, labels: Tensor, real: Any = head.loss) -> Tensor:
                return real(logits, labels) * (nan if next(steps) == nan_at else 1)

            head.loss = loss
        options = OnceOptions(epochs=3)
        supernet = Supernet("perturbation", space, heads, options, SETTINGS, CPU, 0, None)
        try:
            return supernet.epoch(1)
        except Diverged as diverged:
            return str(diverged)

    assert learnt(1, 0) == learnt(3, 0) == learnt(1000, 0)
    assert "batch 4" in learnt(1, 4)
    assert learnt(1, 4) == learnt(3, 4) == learnt(1000, 4)


def test_weights_learn_by_the_papers_adamw_unless_something_else_is_set(tmp_path: Path) -> None:
    told: list[Any] = []
    for place, settings in enumerate(
        (TrainSettings(device="cpu"), TrainSettings(device="cpu", optimiser="sgd"))
    ):
        run(perturbation(JOINT, epochs=1), tmp_path / str(place), settings=settings)
        header: Any = read_container(tmp_path / str(place) / STATE, "a state")[0]
        told.append(header["run"]["settings"])
    names = ("optimiser", "weight_decay", "schedule", "epochs")
    assert [tuple(t[name] for name in names) for t in told] == [
        ("adamw", 0.05, "cosine", 1),
        ("sgd", 1e-4, "cosine", 1),
    ]


# ── the topology parameters ──────────────────────────────────────────────────────────────────────


def test_the_topology_learns_what_lowers_the_validation_loss() -> None:
    space = space_of(PROGRESSIVE)
    prior = Prior(space)
    topology = Topology(prior, PerturbationOptions())
    for step in range(400):
        settings = topology.draw(generator(0, step))
        bad = (settings["logits.layers"] != (2,)) + (settings["h[1].act"] != (1,))
        topology.step("data", settings, 1.0 + bad)
    found = prior.most_probable({})
    assert (found["logits.layers"], found["h[1].act"]) == ((2,), (1,))
    assert prior.laws["logits.layers"].weights()[2] > 0.9


def test_the_step_of_the_topology_is_the_score_function_estimate() -> None:
    """Its mean over P(A | alpha) is the gradient of the expected loss, by enumeration."""
    space = space_of(FLAT)
    loss = {g.digest: 0.2 * number for number, g in enumerate(enumerate_genotypes(space))}
    genotypes = list(enumerate_genotypes(space))
    exact = Prior(space)
    log_probability = exact.log_probability([g.settings for g in genotypes], {})
    values = torch.tensor([loss[g.digest] for g in genotypes], dtype=torch.float64)
    (log_probability.exp() * values).sum().backward()
    total = {key: torch.zeros_like(law.alpha) for key, law in exact.laws.items()}
    for genotype, probability in zip(genotypes, log_probability.exp().tolist(), strict=True):
        prior = Prior(space)
        topology = Topology(prior, PerturbationOptions(arch_learning_rate=1.0))
        topology.baselines["data"] = 0.7
        topology.step("data", genotype.settings, loss[genotype.digest])
        for key, alpha in prior.alphas().items():
            total[key] -= probability * alpha
    for key, law in exact.laws.items():
        assert law.alpha.grad is not None
        torch.testing.assert_close(total[key], law.alpha.grad)


FLAT = """fuse 1
space flat {
  dim N
  for i in 1..3 { input x[i]: f32[N, 4] }
  output logits = linear(concat(?a of x[*], ?some some of x[1..2]), out=3)
}
"""


def test_a_loss_that_is_its_baseline_moves_nothing() -> None:
    prior = Prior(space_of(FLAT))
    topology = Topology(prior, PerturbationOptions())
    for loss in (0.5, 0.5):
        topology.step("data", topology.draw(generator(0)), loss)
    assert all((alpha == 0).all() for alpha in prior.alphas().values())
    topology.step("data", topology.draw(generator(0)), 0.6)
    assert any((alpha != 0).any() for alpha in prior.alphas().values())


def test_each_data_set_has_a_baseline_of_its_own() -> None:
    topology = Topology(Prior(space_of(FLAT)), PerturbationOptions())
    settings = topology.draw(generator(0))
    for loss in (2.0, 1.0):
        topology.step("easy", settings, loss / 10)
        topology.step("hard", settings, loss)
    assert topology.baselines == pytest.approx({"easy": 0.195, "hard": 1.95})


# ── what it finds ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", [0, 1])
def test_it_finds_the_two_inputs_that_tell_something(seed: int) -> None:
    settings = TrainSettings(batch=32, learning_rate=2e-2, device="cpu", precision="float32")
    searcher = perturbation(PAIRS, seed, epochs=40, networks=8)
    epochs = searched(searcher, TwoOfFour(seed), settings)
    [best] = searcher.best(3)
    assert best.genotype.settings["c.inputs"] == (1, 3)
    assert best.score > 0.8
    assert best.trial == len(epochs) - 1


def test_a_search_begins_with_the_supernet_and_ends_with_the_selection() -> None:
    searcher = perturbation(EDGES, epochs=2)
    epochs = [epoch.event for epoch in searched(searcher, SmallData())]
    assert len(epochs) == 2 + len(space_of(EDGES).decisions)
    assert epochs[0].train_loss != epochs[1].train_loss
    for event in epochs[2:]:
        assert event.train_loss == epochs[1].train_loss
        assert event.learning_rate == epochs[1].learning_rate
    settled = [sum(e == 0 for e in event.entropies.values()) for event in epochs]
    assert settled == sorted(settled)
    assert [event.step for event in epochs] == [0, *range(len(epochs) - 1)]


def test_what_a_step_did_not_train_is_not_shown_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    space = space_of(EDGES)
    epochs = [epoch.event for epoch in searched(perturbation(EDGES, epochs=2), SmallData())]
    watcher = Watcher()
    for event in epochs:
        watcher(event)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("epoch 2 of 2: losses ")
    steps = len(epochs) - 2
    assert lines[2].startswith(f"step 1 of {steps} of the selection: mean validation loss ")
    assert "open" not in lines[2]
    log = [{"event": "ArchitectureEpoch", **json.loads(json.dumps(asdict(e)))} for e in epochs]
    section = architecture_of(space, log)
    assert section is not None
    assert [isnan(epoch.training_loss) for epoch in section.epochs] == [False] * 2 + [True] * steps


def test_scores_are_means_over_the_data_sets() -> None:
    space = space_of(JOINT)
    supernet = supernet_of(space, joint_data([]))
    supernet.epoch(1)
    settings = sample(space, generator(3)).settings
    alone = [supernet_of(space, data) for data in (SmallData(), JointData(SmallData(), {}))]
    for other in alone:
        other.networks.load_state_dict(supernet.networks.state_dict())
    main = alone[0].judge(settings, 1)
    assert main == alone[1].judge(settings, 1)
    both = supernet.judge(settings, 1)
    network = supernet.networks.extracted(settings, ["digits"]).eval()
    valid = SmallData().source("valid", ["x[2]"], batch=25, device=CPU)
    [batch] = list(valid.epoch(None))
    with torch.no_grad():
        found = cast("Tensor", network(batch.inputs["x[2]"]))
    right = (found.argmax(1) == batch.labels).double().mean().item()
    assert 2 * both.score - main.score == pytest.approx(right)
    loss = torch.nn.functional.cross_entropy(found, batch.labels).item()
    assert 2 * both.loss - main.loss == pytest.approx(loss, rel=1e-4)
    assert both.loss != main.loss


def test_the_first_batches_score_where_that_is_asked() -> None:
    space = space_of(EDGES)
    data = SmallData()
    supernet = supernet_of(space, data, batches=1)
    settings = sample(space, generator(0)).settings
    supernet.judge(settings, 1)
    assert data.read == 1
    supernet.judge(settings, 1)
    assert data.read == 1


def test_many_labels_are_learnt_too() -> None:
    for epoch in searched(perturbation(EDGES, epochs=2), ManyLabels()):
        assert 0 <= epoch.event.valid_score <= 1


@pytest.mark.parametrize("text", [EDGES, LIMITED])
def test_the_weights_of_a_network_are_those_that_it_was_judged_with(
    text: str, tmp_path: Path
) -> None:
    space = space_of(text)
    searcher = perturbation(text, epochs=2)
    run(searcher, tmp_path)
    [best] = searcher.best(1)
    weights = searcher.weights_of(best.genotype)
    network = lower(specialise(space, best.genotype))
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    network.eval()
    valid = SmallData().source("valid", network.parameter_names, batch=25, device=CPU)
    [batch] = list(valid.epoch(None))
    with torch.no_grad():
        found = cast("Tensor", network(*[batch.inputs[n] for n in network.parameter_names]))
    assert (found.argmax(1) == batch.labels).double().mean().item() == best.score

    again = perturbation(text, epochs=2)
    with pytest.raises(ValueError, match="after begin"):
        again.weights_of(best.genotype)
    run(again, tmp_path)
    for name, value in again.weights_of(best.genotype).items():
        assert np.array_equal(value, weights[name])


def test_a_joint_search_is_resumed_to_the_same_end(tmp_path: Path) -> None:
    def made() -> OnceSearch:
        return perturbation(JOINT, epochs=3, first="digits")

    expected = searched(made(), joint_data([]))
    for stop in (1, 2, 4):
        state = tmp_path / f"{stop}.safetensors"
        first = made()
        first.begin(joint_data([]), SETTINGS, state)
        for _ in range(stop):
            first.epoch()
        again = made()
        done = [*again.begin(joint_data([]), SETTINGS, state)]
        while not again.done:
            done.append(again.epoch())
        assert done == expected


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"epochs": -1}, "`epochs` of the searcher `perturbation` is from 1 to 1000000, not -1"),
        ({"epochs": 10**400}, "from 1 to 1000000"),
        ({"first_share": 1.5}, "is from 0 to 1, not 1.5"),
        ({"warmup": -0.1}, "is from 0 to 1, not -0.1"),
        ({"batches": -1}, "is at least 1, or 0 for all, not -1"),
        ({"drawn": "all"}, "takes one of 'any', 'required'"),
        ({"networks": 0}, "is from 1 to 10000, not 0"),
        ({"networks": 10**9}, "from 1 to 10000"),
        ({"order": "depth"}, "takes one of 'random', 'space'"),
        ({"arch_learning_rate": 0.0}, "is above 0, not 0.0"),
        ({"first": 3}, "takes a text"),
        ({"first_share": nan}, "takes a finite number"),
        ({"arch_learning_rate": inf}, "takes a finite number"),
    ],
)
def test_an_option_out_of_its_range_is_refused(options: dict[str, Any], expected: str) -> None:
    found = refusal(EDGES, **options)
    assert found.code == "E802"
    assert expected in found.message


def test_the_first_data_set_is_one_that_there_is() -> None:
    with pytest.raises(FusegraphError) as refused:
        perturbation(JOINT, first="clips").begin(joint_data([]), SETTINGS, None)
    [found] = refused.value.diagnostics
    assert found.code == "E802"
    assert found.notes == ("data sets train logits, digits",)


def test_what_no_network_satisfies_is_told_before_anything_is_trained() -> None:
    with pytest.raises(FusegraphError) as refused:
        perturbation(LIMITED.replace("<= 80", "<= 20"))
    [found] = refused.value.diagnostics
    assert found.code == "E503"
    assert any("35" in note for note in found.notes)


def test_a_decision_without_a_distribution_is_told_by_the_searchers_name() -> None:
    text = EDGES.replace("for i in 1..3", "for i in 1..20").replace("?two 2", "?two 8")
    text = text.replace("step(?two 8 of x[*])", "step(sum(?two 8 of x[*]), x[1])")
    found = refusal(text)
    assert found.code == "E814"
    assert found.message.startswith("`perturbation` has no distribution")


def test_an_architecture_that_is_no_longer_finite_is_told() -> None:
    topology = Topology(Prior(space_of(EDGES)), PerturbationOptions(arch_learning_rate=1e300))
    settings = topology.draw(generator(0))
    topology.step("data", settings, 0.0)
    with pytest.raises(FusegraphError, match="the architecture diverged") as refused:
        topology.step("data", settings, 1e10)
    [found] = refused.value.diagnostics
    assert found.code == "E701"
    assert "arch_learning_rate" in found.help


def test_a_budget_is_what_the_selection_leaves_to_the_supernet() -> None:
    steps = len(space_of(EDGES).decisions)
    for budget in range(steps + 1, steps + 5):
        assert make_searcher("perturbation", space_of(EDGES), budget=budget).planned == budget
    with pytest.raises(FusegraphError) as refused:
        make_searcher("perturbation", space_of(EDGES), budget=steps)
    [found] = refused.value.diagnostics
    assert found.code == "E812"
    assert found.help == f"give a budget of {steps + 1} or more"


def test_a_state_that_was_changed_is_refused(tmp_path: Path) -> None:
    def searcher() -> OnceSearch:
        return perturbation(EDGES, epochs=1)

    run(searcher(), tmp_path)
    header, tensors = read_container(tmp_path / STATE, "a state")
    plain: Any = header
    nothing: dict[str, Tensor] = {}
    kept: dict[str, Any] = plain["kept"]
    moments = next(name for name in tensors if name.startswith("weights/mean/"))
    changes: list[tuple[dict[str, Any], dict[str, Tensor]]] = [
        ({}, nothing),
        ({**kept, "selection": {"settled": {"c.op": [7]}, "witness": {}}}, nothing),
        ({**kept, "selection": []}, nothing),
        ({**kept, "baselines": {"logits": "1"}}, nothing),
        (kept, {"alpha/c.op": torch.zeros(7, dtype=torch.float64)}),
        (kept, {moments: torch.zeros(1)}),
        (kept, {"weights/other": torch.zeros(1)}),
    ]
    for changed, others in changes:
        write_container(tmp_path / STATE, {**plain, "kept": changed}, {**tensors, **others})
        with pytest.raises(FusegraphError, match="E702"):
            run(searcher(), tmp_path)
