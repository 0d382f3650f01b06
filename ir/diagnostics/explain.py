"""The pages behind the codes: `pages/E302.md` and its like say all that can go wrong."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def codes() -> dict[str, str]:
    """Every code with its title, which is the first line of its page."""
    folder = files(__package__ or __name__) / "pages"
    found = {
        page.name.removesuffix(".md"): page.read_text(encoding="utf-8")
        for page in folder.iterdir()
        if page.name.endswith(".md") and page.name.startswith("E")
    }
    return {
        code: text.splitlines()[0].removeprefix("# ").removeprefix(f"{code}: ")
        for code, text in sorted(found.items())
    }


def explain(code: str) -> str | None:
    """The page of a code, in Markdown; None where there is no such code."""
    if code not in codes():
        return None
    page = files(__package__ or __name__) / "pages" / f"{code}.md"
    return page.read_text(encoding="utf-8")
