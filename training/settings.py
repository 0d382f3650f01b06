"""How a network is trained: every key of `[train]`, with its default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Metric = Literal["accuracy", "top_k", "top_1_and_k", "weighted_f1", "macro_f1", "loss"]


class TrainSettings(BaseModel):
    """The optimiser, its schedule, the loss, and when to stop.

    The defaults are those that MFAS trains its candidates with: Adam from 1e-3 down to 1e-6 along
    cosines with warm restarts, moved on after every batch (Pérez-Rúa et al. 2019, release).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    epochs: Annotated[int, Field(ge=1, description="passes over the training data")] = 20
    batch: Annotated[int, Field(ge=1, description="samples a step")] = 32
    optimiser: Annotated[
        Literal["adam", "adamw", "sgd"], Field(description="fused where the device has it")
    ] = "adam"
    learning_rate: Annotated[float, Field(gt=0, description="at the schedule's start")] = 1e-3
    final_learning_rate: Annotated[
        float, Field(ge=0, description="at the end of each cosine; unused when constant")
    ] = 1e-6
    schedule: Annotated[
        Literal["constant", "cosine", "warm_restarts"],
        Field(description="`cosine` once over all epochs, `warm_restarts` again and again"),
    ] = "warm_restarts"
    schedule_step: Annotated[
        Literal["batch", "epoch"], Field(description="when the learning rate moves on")
    ] = "batch"
    restart_epochs: Annotated[
        int, Field(ge=1, description="length of the first cosine with warm restarts, in epochs")
    ] = 1
    restart_factor: Annotated[
        int, Field(ge=1, description="how much longer each further cosine is")
    ] = 2
    weight_decay: Annotated[
        float, Field(ge=0, description="L2 for adam and sgd, decoupled for adamw")
    ] = 1e-4
    betas: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]],
        Field(strict=False, description="the two decays of adam and adamw"),
    ] = (0.9, 0.999)
    momentum: Annotated[float, Field(ge=0, lt=1, description="of sgd")] = 0.9
    gradient_clip: Annotated[
        float | None, Field(gt=0, description="highest norm of all gradients together")
    ] = None
    label_smoothing: Annotated[
        float, Field(ge=0, lt=1, description="share of the target spread over all classes")
    ] = 0.0
    balance: Annotated[
        bool,
        Field(description="multi-label: weigh a class's positives by negatives / positives"),
    ] = True
    metric: Annotated[
        Metric,
        Field(
            description="what chooses the best epoch, on the validation split; `top_1_and_k` is "
            "top-1 + top-k accuracy, AssembleNet's fitness"
        ),
    ] = "accuracy"
    top_k: Annotated[int, Field(ge=1, description="the k of `top_k` and `top_1_and_k`")] = 5
    patience: Annotated[
        int | None, Field(ge=1, description="stop after this many epochs without a better one")
    ] = None
    device: Annotated[
        str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="`auto`: a GPU if any")
    ] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(description="`auto`: bfloat16 mixed precision on a GPU that has it, else float32"),
    ] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**31, description="of batch order and dropout")] = 0

    @model_validator(mode="after")
    def _ends_below_its_start(self) -> TrainSettings:
        if self.schedule != "constant" and self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate {self.final_learning_rate:g} is above "
                f"learning_rate {self.learning_rate:g}"
            )
        return self
