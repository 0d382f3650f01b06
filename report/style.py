"""One look for all pictures: fonts, sizes, colours in a light and a dark scheme."""

from __future__ import annotations

# The renderer of PNG files knows no font by `sans-serif`, so those of Linux systems are named.
FONT = (
    'ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, '
    '"Liberation Sans", "Noto Sans", "DejaVu Sans", sans-serif'
)
NAME_SIZE = 12.5
TEXT_SIZE = 12.5
SMALL_SIZE = 10.5
CHIP_SIZE = 11.0
TITLE_SIZE = 16.0

SERIES = ("a", "b", "c", "d", "e", "f")
"""Names of the colours of inputs and of the series of a chart, in the order they are given out."""

_LIGHT = {
    "paper": "#ffffff", "ink": "#1e293b", "soft": "#64748b", "faint": "#e2e8f0",
    "line": "#94a3b8", "box": "#f8fafc", "edge": "#94a3b8", "cell": "#f1f5f9",
    "open": "#b45309", "open-edge": "#d97706", "open-fill": "#fffbeb", "chip": "#ffffff",
    "chosen": "#b45309", "chosen-ink": "#ffffff", "good": "#0f766e", "good-fill": "#ecfdf8",
    "a": "#3b6fb6", "a-fill": "#edf3fb", "b": "#0f8a75", "b-fill": "#e8f6f2",
    "c": "#8a5fbf", "c-fill": "#f4eefb", "d": "#c2556b", "d-fill": "#fbeef1",
    "e": "#8a7a1f", "e-fill": "#f8f5e3", "f": "#4b6478", "f-fill": "#eef2f5",
}  # fmt: skip
_DARK = {
    "paper": "#0f151d", "ink": "#e2e8f0", "soft": "#94a3b8", "faint": "#263241",
    "line": "#64748b", "box": "#18212c", "edge": "#526175", "cell": "#151d27",
    "open": "#fbbf24", "open-edge": "#d99a2b", "open-fill": "#251d0e", "chip": "#18212c",
    "chosen": "#f0ac32", "chosen-ink": "#17120a", "good": "#4fd1b5", "good-fill": "#10251f",
    "a": "#7aa7e6", "a-fill": "#152236", "b": "#4cc2aa", "b-fill": "#10271f",
    "c": "#b794e6", "c-fill": "#221a33", "d": "#ec8fa2", "d-fill": "#2f1820",
    "e": "#d2bf55", "e-fill": "#28240f", "f": "#9db4c6", "f-fill": "#1a242d",
}  # fmt: skip

_STRUCTURE = """
.fg text{font-family:%(font)s;font-size:12.5px}
.fg .t{font-size:16px;font-weight:600}.fg .n{font-weight:600}
.fg .s{font-size:10.5px}.fg .k{font-size:11px}
.fg .m{text-anchor:middle}.fg .e{text-anchor:end}
.fg .line{fill:none;stroke-width:1.4}
.fg .open-line{fill:none;stroke-width:1.2;stroke-dasharray:4 3.5}
.fg .chosen-line{fill:none;stroke-width:2.2}
.fg .weighed-line{fill:none}
.fg .r{stroke-width:1.2}.fg .dash{stroke-dasharray:4.5 3}
.fg .halo{stroke-width:3px;paint-order:stroke;stroke-linejoin:round}
.fg .faded{opacity:.32}
.fg .curve{fill:none;stroke-width:1.9;stroke-linejoin:round;stroke-linecap:round}
.fg .thin{fill:none;stroke-width:1.3;stroke-dasharray:4 3}
.fg .h{font-size:13.5px}
.fg .grid{stroke-width:1;fill:none}.fg .axis{stroke-width:1;fill:none}
.fg .band{stroke:none;opacity:.16}.fg .dot{opacity:.8}.fg .bar{opacity:.85}
.fg .whisker{fill:none;stroke-width:1.5}
"""


def _colours(colours: dict[str, str]) -> str:
    c = colours
    rules = [
        f".fg .paper{{fill:{c['paper']}}}",
        f".fg text{{fill:{c['ink']}}}",
        f".fg .s,.fg .p{{fill:{c['soft']}}}",
        f".fg .o{{fill:{c['open']}}}",
        f".fg .halo{{stroke:{c['paper']}}}",
        f".fg .line{{stroke:{c['line']}}}.fg .head{{fill:{c['line']}}}",
        f".fg .open-line{{stroke:{c['open-edge']}}}.fg .open-head{{fill:{c['open-edge']}}}",
        f".fg .chosen-line{{stroke:{c['chosen']}}}.fg .chosen-head{{fill:{c['chosen']}}}",
        f".fg .weighed-line{{stroke:{c['ink']}}}.fg .weighed-head{{fill:{c['ink']}}}",
        f".fg .op{{fill:{c['box']};stroke:{c['edge']}}}",
        f".fg .asked{{stroke:{c['open-edge']}}}",
        f".fg .cell{{fill:{c['cell']};stroke:{c['soft']}}}",
        f".fg .choice{{fill:{c['open-fill']};stroke:{c['open-edge']}}}",
        f".fg .bus{{fill:{c['open-edge']}}}",
        f".fg .chip{{fill:{c['chip']};stroke:{c['open-edge']}}}",
        f".fg .chosen{{fill:{c['chosen']};stroke:{c['chosen']}}}",
        f".fg .on{{fill:{c['chosen-ink']}}}",
        f".fg .output{{fill:{c['good-fill']};stroke:{c['good']}}}",
        f".fg .grid{{stroke:{c['faint']}}}.fg .axis{{stroke:{c['soft']}}}",
        f".fg .whisker{{stroke:{c['ink']}}}.fg .slot{{fill:{c['cell']}}}",
        f".fg .ink{{fill:{c['ink']}}}.fg .on-cell{{fill:{c['paper']}}}",
    ]
    for name in SERIES:
        rules += [
            f".fg .in-{name}{{fill:{c[name + '-fill']};stroke:{c[name]}}}",
            f".fg .ink-{name}{{stroke:{c[name]}}}.fg .fill-{name}{{fill:{c[name]}}}",
        ]
    return "".join(rules)


def style() -> str:
    """The style sheet of every picture; its classes are all below `.fg`."""
    structure = (_STRUCTURE % {"font": FONT}).replace("\n", "")
    dark = f"@media (prefers-color-scheme:dark){{{_colours(_DARK)}}}"
    return f"<style>{structure}{_colours(_LIGHT)}{dark}</style>"


def opening(width: float, height: float, label: str) -> str:
    """The first tags of a picture; `label` must be escaped already."""
    w, h = f"{width:.0f}", f"{height:.0f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fg" role="img" width="{w}" height="{h}" '
        f'viewBox="0 0 {w} {h}"><title>{label}</title>{style()}'
        f'<rect class="paper" width="{w}" height="{h}" rx="10"/>'
    )
