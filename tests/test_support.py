"""Helpers that know nothing of graphs: files that are whole, and names that were meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusegraph.ir.support.differences import differences
from fusegraph.ir.support.files import write_whole
from fusegraph.ir.support.memory import out_of_memory
from fusegraph.ir.support.names import likely, nearest


def test_a_file_is_written_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", b"old")
    write_whole(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("moment", ["os.fsync", "pathlib.Path.replace"])
def test_what_fails_halfway_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    write_whole(tmp_path / "a.txt", b"old")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(moment, no_space)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "a.txt", b"old")
    seen: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append((tmp_path / "a.txt").read_bytes()))
    write_whole(tmp_path / "a.txt", b"new")
    assert seen == [b"old", b"new"]  # while the file is synced, and while its folder is


def test_a_file_system_that_cannot_sync_a_folder_has_the_file_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_folders(path: str | Path, _: int) -> int:
        raise OSError(22, f"Invalid argument: {path}")

    monkeypatch.setattr("fusegraph.ir.support.files.os.open", no_folders)
    write_whole(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"


def test_a_file_gets_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_whole(tmp_path / "whole", b"")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_no_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no" / "a.txt", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [("candidate", "candidates"), ("mfsa", "mfas"), ("epochs", None), ("", None)],
)
def test_the_name_that_was_meant_is_found(name: str, meant: str | None) -> None:
    assert nearest(name, iter(["mfas", "candidates", "sigma"])) == meant


def test_names_that_are_less_alike_are_found_where_that_is_asked_for() -> None:
    assert nearest("E1O3", ["E103"]) == "E103"
    assert nearest("EIO3", ["E103"]) is None
    assert nearest("EIO3", ["E103"], likeness=0.5) == "E103"


def test_the_likeliest_comes_first_whatever_the_order() -> None:
    assert likely("image", ["images", "mage", "rgb"], 2) == likely("image", ["mage", "images"], 2)
    assert likely("imagess", ["image", "images"], 2) == ["images", "image"]
    assert likely("imagess", ["image", "images"], 1) == ["images"]


def test_differences_are_told_with_their_place() -> None:
    old = {"a": 1, "b": {"c": 1, "d": [1]}, "e": {"f": 1}}
    new = {"a": 1, "b": {"c": 2, "d": [1]}, "g": "x"}
    assert list(differences(old, old)) == []
    assert list(differences(old, new)) == [
        "b.c was 1 and is 2",
        "e was {'f': 1} and is None",
        "g was None and is 'x'",
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_memory_that_is_too_small_is_told_from_other_errors(
    error: Exception, expected: bool
) -> None:
    assert out_of_memory(error) is expected
