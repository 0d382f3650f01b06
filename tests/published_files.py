"""Small files in the formats that NTU RGB+D, EgoGesture and MM-IMDB are published in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

Array = np.ndarray[Any, Any]


def skeleton_text(frames: Sequence[Sequence[Array]]) -> str:
    """Frames of bodies of (25, 3) coordinates."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for number, joints in enumerate(bodies):
            lines += [f"{72057594037931101 + number} 0 1 1 1 1 0 0.02 -0.03 2", str(len(joints))]
            lines += [
                " ".join(f"{value:.6f}" for value in joint) + " 277 191 1036 519 -0.2 0 -0.9 0.3 2"
                for joint in joints
            ]
    return "\n".join(lines) + "\n"


def bodies(frames: int, people: int = 1, seed: int = 0) -> list[list[Array]]:
    rng = np.random.default_rng(seed)
    return [[rng.normal(size=(25, 3)) for _ in range(people)] for _ in range(frames)]


def write_video(file: Path, grey: Iterable[int], size: tuple[int, int] = (48, 64)) -> None:
    """One frame a level of grey, without loss; the right half is red in every frame."""
    height, width = size
    file.parent.mkdir(parents=True, exist_ok=True)
    made = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"FFV1"), 30, (width, height))
    assert made.isOpened()
    for level in grey:
        frame = np.full((height, width, 3), level, dtype=np.uint8)
        frame[:, width // 2 :] = (0, 0, 255)  # OpenCV's order is blue, green, red
        made.write(frame)
    made.release()


def write_ntu(
    root: Path,
    names: Iterable[str],
    *,
    video: bool = True,
    people: Mapping[str, int] | None = None,
) -> None:
    """A skeleton file of six frames and a video of ten for each name."""
    skeletons, videos = root / "nturgb+d_skeletons", root / "nturgb+d_rgb"
    skeletons.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        text = skeleton_text(bodies(6, (people or {}).get(name, 1), seed=number))
        (skeletons / f"{name}.skeleton").write_text(text)
        if video:
            write_video(videos / f"{name}_rgb.avi", range(0, 200, 20))


def ntu_name(subject: int, action: int = 1, setup: int = 1, repetition: int = 1) -> str:
    return f"S{setup:03d}C001P{subject:03d}R{repetition:03d}A{action:03d}"


def write_ego_gesture(
    root: Path,
    rows: Mapping[tuple[int, int, int], Sequence[str]],
    *,
    frames: int = 12,
    size: tuple[int, int] = (24, 32),
) -> None:
    """Label files by (subject, scene, group), and frames whose grey is ten times their number."""
    height, width = size
    for (subject, scene, group), lines in rows.items():
        labels = root / "labels-final-revised1" / f"subject{subject:02d}" / f"Scene{scene}"
        labels.mkdir(parents=True, exist_ok=True)
        (labels / f"Group{group}.csv").write_text("".join(f"{line}\n" for line in lines))
        images = root / "images" / f"Subject{subject:02d}" / f"Scene{scene}"
        for folder in (images / "Color" / f"rgb{group}", images / "Depth" / f"depth{group}"):
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(1, frames + 1):
                level = 10 * number + (5 if folder.parent.name == "Depth" else 0)
                picture = np.full((height, width, 3), level, dtype=np.uint8)
                cv2.imwrite(str(folder / f"{number:06d}.jpg"), picture)


def write_mm_imdb(
    file: Path,
    counts: Mapping[str, int],
    *,
    genres: int = 3,
    with_split: bool = True,
    leave_out: str = "",
) -> None:
    """`multimodal_imdb.hdf5` as its authors' script writes it, with smaller posters."""
    rng = np.random.default_rng(0)
    films = sum(counts.values())
    labels = rng.integers(0, 2, size=(films, genres)).astype(np.int32)
    labels[:, 0] |= labels.sum(axis=1) == 0
    content: dict[str, Array] = {
        "images": rng.integers(-120, 130, size=(films, 3, 16, 10)).astype(np.int32),
        "features": rng.normal(size=(films, 5)).astype(np.float32),
        "genres": labels,
        "imdb_ids": np.array([f"{n:07d}" for n in range(films)], dtype="S7"),
    }
    with h5py.File(file, "w") as made:
        for key, value in content.items():
            if key != leave_out:
                made.create_dataset(key, data=value)
        if "genres" in made:
            made["genres"].attrs["target_names"] = json.dumps(["Drama", "Comedy", "War"][:genres])
        if with_split:
            made.attrs["split"] = _split_array(counts)


def _split_array(counts: Mapping[str, int]) -> Array:
    """The attribute that the library Fuel writes: a row for each split and source."""
    columns = [
        ("split", "S5"),
        ("source", "S12"),
        ("start", np.int64),
        ("stop", np.int64),
        ("indices", h5py.special_dtype(ref=h5py.Reference)),
        ("available", bool),
        ("comment", "S1"),
    ]
    rows: list[tuple[Any, ...]] = []
    start = 0
    for split, count in counts.items():
        name = b"dev" if split == "valid" else split.encode()
        for source in (b"features", b"genres"):
            rows.append((name, source, start, start + count, h5py.Reference(), True, b""))
        start += count
    return np.array(rows, dtype=columns)
