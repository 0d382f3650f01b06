"""What lies where an extraction is resumed, and belongs to no split, is thrown away."""

from __future__ import annotations

from pathlib import Path

from fusegraph.tasks.unfinished import throw_away


def test_a_link_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    kept, stray = tmp_path / "kept", tmp_path / "stray"
    for folder in (kept, stray / "folder"):
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text("a")
    (stray / "file").write_text("b")
    (stray / "link").symlink_to(kept)
    for entry in stray.iterdir():
        throw_away(entry)
    assert list(stray.iterdir()) == []
    assert (kept / "a.txt").is_file()
