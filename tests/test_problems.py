"""What is wrong with a file or an option is told in the file's own words, never in pydantic's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.tasks.datasets.settings import MmImdbSettings, NtuSettings, read_settings
from fusegraph.tasks.problems import problems_of
from fusegraph.tasks.schema import TaskSettings

PYDANTIC = ("Input", "Value error", "String should", "valid ", "validation", "pathlib", "parse")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Item(_Strict):
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=2)] = (
        1,
        1,
    )
    size: Annotated[float | None, Field(gt=0, lt=1)] = None


class _File(_Strict):
    numbers: dict[str, int | float] = Field(default_factory=dict)
    sizes: dict[str, int] = Field(default_factory=dict)
    items: dict[Annotated[str, Field(pattern="^[a-z]+$", max_length=4)], _Item] = Field(
        default_factory=dict
    )
    listed: list[_Item] = Field(default_factory=list)
    item: _Item | None = None
    kind: Literal["one", "two"] = "one"
    even: bool = True

    @model_validator(mode="after")
    def _kind_of_even(self) -> _File:
        if self.kind == "one" and not self.even:
            raise ValueError("`one` is even")
        return self


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        ({"numbers": {"C": "x"}}, "numbers.C", "expected an integer or a number, found 'x'"),
        ({"numbers": {"int": []}}, "numbers.int", "expected an integer or a number, found []"),
        ({"numbers": {"C": True}}, "numbers.C", "expected an integer or a number, found true"),
        ({"sizes": {"int": 2.5}}, "sizes.int", "expected an integer, found 2.5"),
        ({"sizes": 3}, "sizes", "expected a table, found 3"),
        ({"items": {"a": 3}}, "items.a", "expected a table, found 3"),
        (
            {"items": {"a": {"shape": [2, 3, -1]}}},
            "items.a.shape",
            "expected a number greater than or equal to 1 as item 3, found -1",
        ),
        (
            {"items": {"a": {"shape": [2]}}},
            "items.a.shape",
            "expected at least 2 of them, found [2]",
        ),
        (
            {"items": {"A": {}}},
            "items.A",
            "expected a text of the pattern `^[a-z]+$`, found 'A'",
        ),
        (
            {"items": {"abcde": {}}},
            "items.abcde",
            "expected a text of at most 4 characters, found 'abcde'",
        ),
        ({"item": {"size": 2.0}}, "item.size", "expected a number less than 1.0, found 2.0"),
        ({"item": {"sise": 2.0}}, "item.sise", "unknown key `sise`"),
        ({"listed": [{}, {"sise": 2.0}]}, "listed.sise", "unknown key `sise`"),
        ({"kind": "on"}, "kind", "expected 'one' or 'two', found 'on'"),
        ({"even": 1}, "even", "expected true or false, found 1"),
        ({"even": False}, "", "`one` is even"),
        ({"sizes": {"a": "9" * 99}}, "sizes.a", f"expected an integer, found '{'9' * 56}..."),
        (
            {"kind": 10**5000},
            "kind",
            "expected 'one' or 'two', found a number of more than 60 digits",
        ),
    ],
)
def test_a_problem_is_told_once_with_the_path_that_the_file_has(
    data: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        _File.model_validate(data)
    (problem,) = problems_of(raised.value, _File)
    assert (problem.path, problem.message) == (path, message)
    if problem.unknown:
        assert problem.known == ("shape", "size")


def test_a_task_s_parameter_is_told_by_its_name() -> None:
    data = {
        "task": {"name": "a", "space": "a.fuse"},
        "data": {"features": "f"},
        "search": {"set": {"C": [4]}, "budget": 0},
    }
    with pytest.raises(ValidationError) as raised:
        TaskSettings.model_validate(data)
    told = {p.path: p.message for p in problems_of(raised.value, TaskSettings)}
    assert told.keys() == {"search.set.C", "search.budget"}
    assert told["search.set.C"].endswith("found [4]")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("train", "1,x", "option `train`: expected an integer as item 2, found 'x'"),
        ("train", "0", "option `train`: expected a number greater than or equal to 1 as item 1"),
        ("train", [], "option `train`: expected at least 1 of them"),
        ("train", "2", "subject 2 stands in `train` and in `valid`"),
        ("inputs", "rgb,audio", "option `inputs`: expected 'rgb' or 'skeleton' as item 2"),
        ("frames", "many", "option `frames`: expected an integer, found 'many'"),
        ("frames", "2.5", "option `frames`: expected an integer, found '2.5'"),
        ("frames", "9" * 5000, "option `frames`: expected an integer of fewer digits"),
        ("missing", 3, "option `missing`: expected a path, found 3"),
    ],
)
def test_an_option_of_a_data_set_is_told_in_plain_words(
    option: str, value: object, message: str
) -> None:
    with pytest.raises(FusegraphError) as raised:
        read_settings(NtuSettings, {option: value})
    (found,) = raised.value.diagnostics
    assert found.code == "E640"
    assert found.message.startswith(message)
    assert not any(word in str(raised.value) for word in PYDANTIC)


def test_a_count_that_may_be_left_out_is_told_as_one() -> None:
    with pytest.raises(FusegraphError) as raised:
        read_settings(MmImdbSettings, {"train": "many"})
    (found,) = raised.value.diagnostics
    assert found.message == "option `train`: expected an integer, found 'many'"
