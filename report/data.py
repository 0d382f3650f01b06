"""What the page of a run tells, as plain frozen data. Every section may be missing.

Numbers that are not known are None, or not finite. Scores are what the task measures; `percent`
says whether they are shares to be written as percentages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..ir.decisions import Setting
from ..ir.graph import Graph
from .architecture import ArchitectureSection
from .curves import Mark, Series

Pairs = tuple[tuple[str, str], ...]
"""Names and texts, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class SpaceSection:
    """What was searched: the drawing of the graph, how much there is of it, its text."""

    graph: Graph
    text: str = ""
    file: str = ""
    genotypes: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Split:
    """A part of the data, with its number of samples."""

    name: str
    samples: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Tap:
    """An array of features: its name, what a sample of it is, where it comes from."""

    name: str
    type: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class DataSection:
    """What the networks saw. `output` is the one that this data trained, where there are several;
    `others` are the further data sets then.
    """

    splits: tuple[Split, ...] = ()
    taps: tuple[Tap, ...] = ()
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    output: str = ""
    others: tuple[DataSection, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate of the search. `failure` is the reason why it has no score.

    `plain` is its score before the price, where there is one; `latency` is in milliseconds.
    """

    number: int
    genotype: str
    score: float | None = None
    parameters: int | None = None
    macs: int | None = None
    seconds: float | None = None
    round: str = ""
    failure: str = ""
    activation_bytes: int | None = None
    latency: float | None = None
    plain: float | None = None


@dataclass(frozen=True, slots=True)
class Final:
    """One of the best of a search, trained to completion: what it costs as it was trained then.

    `score` is what it was chosen by, where that is not `valid`, its score on the validation split.
    `joint` are the outputs and scores of further data sets.
    """

    rank: int
    search_score: float | None
    valid: float | None
    score: float | None = None
    parameters: int | None = None
    macs: int | None = None
    activation_bytes: int | None = None
    latency: float | None = None
    joint: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A further curve of the search: entropy, temperature, the loss of a surrogate."""

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()
    log_y: bool = False


@dataclass(frozen=True, slots=True)
class SearchSection:
    """How the search went. `architecture` is what a search over a supernet learnt.

    `final_metric` is what the `finals` were measured by, where it is not the search's `metric`;
    `kept`: they were not trained.
    """

    searcher: str
    metric: str
    trials: tuple[Trial, ...] = ()
    settings: Pairs = ()
    charts: tuple[Chart, ...] = ()
    percent: bool = True
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    architecture: ArchitectureSection | None = None
    finals: tuple[Final, ...] = ()
    final_metric: str = ""
    final_percent: bool = True
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Method:
    """What one method reached, one score a seed."""

    name: str
    scores: tuple[float, ...]
    parameters: int | None = None
    seconds: float | None = None
    strong: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class ComparisonSection:
    """Methods side by side, measured alike."""

    metric: str
    methods: tuple[Method, ...]
    percent: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What one node or composite of the winner costs, for one sample."""

    place: str
    op: str
    parameters: int = 0
    macs: int = 0
    activation_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of the winner's training."""

    number: int
    training_loss: float | None = None
    validation_loss: float | None = None
    validation_score: float | None = None


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each true class (row) was taken for each class (column), of one output."""

    output: str
    matrix: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WinnerSection:
    """The network that was found. With `space` and `taken`, it is shown inside its space too.

    `connections` are the weights that edges of a levelled graph learned, by their names. `joint`
    is of the outputs that further data sets trained.
    """

    network: Graph
    genotype: str = ""
    space: Graph | None = None
    taken: Mapping[str, Setting] | None = None
    costs: tuple[Cost, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    metrics: tuple[tuple[str, float], ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    classes: tuple[str, ...] = ()
    percent: bool = True
    notes: tuple[str, ...] = ()
    connections: Mapping[str, float] | None = None
    joint: tuple[Confusion, ...] = ()


@dataclass(frozen=True, slots=True)
class Parity:
    """How far two backends are apart on the same inputs."""

    what: str
    largest_absolute: float
    largest_relative: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the relative difference is within the tolerance."""
        return self.largest_relative <= self.tolerance


@dataclass(frozen=True, slots=True)
class File:
    """A file of the run folder: its path there, its size, what it is for."""

    path: str
    size: int
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class ExportSection:
    """What was written for use elsewhere, and how it was checked."""

    files: tuple[File, ...] = ()
    parity: tuple[Parity, ...] = ()
    facts: Pairs = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RepeatSection:
    """All that it takes to do the run again."""

    commands: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    versions: Pairs = ()
    machine: Pairs = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportData:
    """The whole page. `facts` are the few figures that stand at its head."""

    title: str
    subtitle: str = ""
    facts: Pairs = ()
    space: SpaceSection | None = None
    data: DataSection | None = None
    search: SearchSection | None = None
    comparison: ComparisonSection | None = None
    winner: WinnerSection | None = None
    export: ExportSection | None = None
    repeat: RepeatSection | None = None
