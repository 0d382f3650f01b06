"""The task file: which space, which data, how to search, train and export. Free of torch.

Paths are relative to the task file. A task file is data: it never runs code by itself.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ..backends.latency import Timing
from ..training.settings import TrainSettings


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TaskSection(_Section):
    """What is to be solved, and in which space."""

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="names run folders and reports"),
    ]
    space: Annotated[str, Field(min_length=1, description="the space's `.fuse` file")]
    set: Annotated[
        dict[str, int | float | str],
        Field(
            description="the space's parameters, as `--set` has them: `{C = 256}`; a tuple as a "
            'text: `{modules = "(3, 4, 6, 3)"}`'
        ),
    ] = Field(default_factory=dict)
    genotype: Annotated[
        str | None,
        Field(description="a genotype file; given, `train` needs no search before it"),
    ] = None


class DataSection(_Section):
    """Where features and labels come from: exactly one of `features` and `hook`."""

    features: Annotated[str | None, Field(description="a feature folder")] = None
    hook: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
            description="`module:function` yielding batches of named tensors; has to be allowed "
            "with `--allow-hook`, since it is code",
        ),
    ] = None
    standardise: Annotated[
        bool,
        Field(description="features: centre and scale each channel by the training split's"),
    ] = True
    labels: Annotated[
        Literal["single", "multi"],
        Field(description="of a hook; a feature folder knows its own"),
    ] = "single"

    @model_validator(mode="after")
    def _exactly_one_source(self) -> DataSection:
        if (self.features is None) == (self.hook is None):
            found = "neither" if self.features is None else "both"
            raise ValueError(f"expected exactly one of `features` and `hook`, found {found}")
        return self


class JointSection(DataSection):
    """A further data set, which trains the output NAME of the space: as `[data]`."""


def _of_a_further_output(name: str) -> str:
    if name == "logits":
        raise ValueError(
            "expected the name of another output than `logits`, which `[data]` trains, found "
            "'logits'"
        )
    return name


class CandidateSettings(TrainSettings):
    """How candidates are trained while searching: as `[train]`, but briefly.

    MFAS, Algorithm 1, trains each for E_train = 2 epochs (section 4).
    """

    epochs: Annotated[int, Field(ge=1, description="passes over the training data")] = 2


class FinalSettings(TrainSettings):
    """How the found network is trained."""

    finals: Annotated[
        int,
        Field(
            ge=1,
            description="so many of the best candidates are trained to completion, and the best of "
            "these on the validation split is what was found; five as in MFAS, section 3.2",
        ),
    ] = 5
    refit: Annotated[
        bool,
        Field(
            description="train the best network once more, from new random weights or those that "
            "it may `inherit`, on the training and validation splits together, and keep its last "
            "epoch (BM-NAS, section 3.4); what is said of the validation split is from before"
        ),
    ] = False
    inherit: Annotated[
        Literal["no", "start", "keep"],
        Field(
            description="the weights that a search by shared weights ended with: the networks that "
            "it found `start` from them, or `keep` them and are measured as they are; `parsec`, "
            "`perturbation` and `constrained_evolution` have such weights; `train` by itself has "
            "no search before it, and begins anew"
        ),
    ] = "no"

    @model_validator(mode="after")
    def _keeps_what_it_kept(self) -> FinalSettings:
        if self.refit and self.inherit == "keep":
            raise ValueError(
                "expected `refit = false` where `inherit` is 'keep', as the weights that are kept "
                'would be thrown away, found true; take `refit` away, or set `inherit = "start"`'
            )
        return self


class LatencySection(_Section):
    """How latencies are measured on this machine's CPU."""

    runtime: Annotated[Literal["torch", "onnx"], Field(description="what runs the network")] = (
        "torch"
    )
    batch: Annotated[int, Field(ge=1, description="samples at once")] = 1
    threads: Annotated[int, Field(ge=1, description="that work on one operator")] = 1
    warm_ups: Annotated[int, Field(ge=0, description="runs before any is timed")] = 5
    runs: Annotated[int, Field(ge=1, description="of which the median is taken")] = 30
    sizes: Annotated[
        dict[str, Annotated[int, Field(ge=1)]],
        Field(description="a number for each other named size: `{T = 16}`"),
    ] = Field(default_factory=dict)

    @property
    def timing(self) -> Timing:
        """The same, for who measures."""
        return Timing(**self.model_dump())


class PriceSection(_Section):
    """What a candidate's score loses for what its network costs, as it is searched.

    With m the measure, T the target and w the weight, `linear` is score - w * max(0, m/T - 1), and
    `product` is score * (m/T)^-w, MnasNet's soft constraint (Tan et al. 2019, eq. 2 with
    alpha = beta = -w), whose w is 0.07.
    """

    measure: Annotated[
        Literal["parameters", "macs", "flops", "activation_bytes", "latency"],
        Field(description="what of a network is priced"),
    ]
    target: Annotated[float, Field(gt=0, description="what it should be at most")]
    weight: Annotated[float, Field(ge=0, description="what going beyond the target costs")] = 0.07
    form: Annotated[
        Literal["linear", "product"],
        Field(description="`score - weight * max(0, m/T - 1)`, or `score * (m/T) ** -weight`"),
    ] = "linear"


class SearchSection(_Section):
    """How genotypes are looked for."""

    searcher: Annotated[str, Field(min_length=1, description="its name, such as `mfas`")] = "mfas"
    budget: Annotated[
        int | None, Field(ge=1, description="how many networks are trained; the searcher's default")
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**31, description="of all that the search draws")] = 0
    options: Annotated[
        dict[str, Any],
        Field(
            description="the searcher's own, see `fusegraph explain SEARCHER`: `random`, `mfas`, "
            "`evolution`, `bm_nas`, `parsec`, `perturbation`, `constrained_evolution`"
        ),
    ] = Field(default_factory=dict)
    set: Annotated[
        dict[str, int | float | str],
        Field(description="the space's parameters while searching, over `task.set`: `{W = 16}`"),
    ] = Field(default_factory=dict)
    side_by_side: Annotated[
        int,
        Field(
            ge=1,
            description="how many candidates are trained as one program at most, in waves that "
            "keep what each inherits; results differ by rounding and by what dropout draws; 1: one "
            "after the other",
        ),
    ] = 64
    price: Annotated[
        PriceSection | None,
        Field(description="what a score loses for what the network costs, see below"),
    ] = None
    latency: Annotated[
        LatencySection | None,
        Field(
            description="given, the latency of each network is measured; so it is, by the "
            "defaults below, where it is priced or the space requires it"
        ),
    ] = None
    train: Annotated[
        CandidateSettings,
        Field(
            description="how candidates are trained: the same keys as `[train]`, of which nothing "
            "is taken over; `epochs` is 2 if not set"
        ),
    ] = Field(default_factory=CandidateSettings)

    @model_validator(mode="after")
    def _prices_what_is_above_nought(self) -> SearchSection:
        if self.price and self.price.form == "product" and self.train.metric == "loss":
            raise ValueError(
                'expected `form = "linear"` in `price`, as the score is a loss, which is below '
                "nought and would gain by a product, found 'product'"
            )
        return self


class ExportSection(_Section):
    """What is written at the end, and what the exported file says of itself."""

    onnx: Annotated[
        str | None,
        Field(
            pattern=r"^[^/\\].*\.onnx$",
            description="the file, `model.onnx`, relative to the run folder",
        ),
    ] = None
    class_names: Annotated[
        tuple[str, ...],
        Field(strict=False, description="in the order of the labels; the feature folder's"),
    ] = ()
    preprocessing: Annotated[
        str, Field(description="a note on what has to be done to raw data before the inputs")
    ] = ""

    @model_validator(mode="after")
    def _stays_below_the_run_folder(self) -> ExportSection:
        # A task file from elsewhere must not choose which of your files is overwritten.
        steps = (self.onnx or "").replace("\\", "/").split("/")
        if ".." in steps or ":" in steps[0]:
            raise ValueError(f"expected a file below the run folder, found {self.onnx!r}")
        return self


class TaskSettings(_Section):
    """All sections of a task file."""

    task: Annotated[TaskSection, Field(description="what is to be solved, and in which space")]
    data: Annotated[DataSection, Field(description="where features and labels come from")]
    joint: Annotated[
        dict[Annotated[str, AfterValidator(_of_a_further_output)], JointSection],
        Field(description="further data sets that train the same network"),
    ] = Field(default_factory=dict)
    search: Annotated[SearchSection, Field(description="how genotypes are looked for")] = Field(
        default_factory=SearchSection
    )
    train: Annotated[FinalSettings, Field(description="how the found network is trained")] = Field(
        default_factory=FinalSettings
    )
    export: Annotated[ExportSection, Field(description="what is written at the end")] = Field(
        default_factory=ExportSection
    )
