"""One picture of a bench: what an event costs and who is paid, as an SVG. Pure."""

from collections.abc import Mapping
from typing import Final

from bench.budgets import COST, MODES

_COLOURS: Final = {
    "ingest": "#3b6fb6",
    "kafka": "#7a5195",
    "redis": "#c0504d",
    "stream": "#2a9d8f",
    "postgres": "#8d99ae",
}
_TITLES: Final = {"single": "single-event requests", "batch": "batches of 100"}
_WIDTH: Final = 860
_LEFT: Final = 40
_ROOM: Final = 760
_ROW: Final = 120


def draw(figures: Mapping[str, float], caption: str) -> str:
    """Stacked bars of µs per event for each mode, with the budget as a line."""
    modes = [mode for mode in MODES if f"{mode}.whole" in figures]
    height = 70 + _ROW * len(modes) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="sans-serif" font-size="13" role="img">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(_LEFT, 28, "CPU per event, whole system (user + system, µs)", 'font-size="17"'),
        _text(_LEFT, 48, caption, 'fill="#555555"'),
    ]
    for number, mode in enumerate(modes):
        parts += _bar(figures, mode, 70 + _ROW * number)
    parts += _legend(height - 22)
    return "\n".join([*parts, "</svg>", ""])


def _bar(figures: Mapping[str, float], mode: str, top: int) -> list[str]:
    whole = figures[f"{mode}.whole"]
    must = next(budget.must for budget in COST if budget.figure == f"{mode}.whole")
    scale = _ROOM / (1.1 * max(whole, must))
    rate = 4e6 / whole
    title = f"{_TITLES[mode]}: {whole:.1f} µs, or {rate:,.0f} events/s on 4 vCPUs"
    parts, left = [_text(_LEFT, top + 20, title, 'font-weight="bold"')], float(_LEFT)
    for name, colour in _COLOURS.items():
        width = scale * figures[f"{mode}.{name}"]
        parts.append(
            f'<rect x="{left:.1f}" y="{top + 32}" width="{width:.1f}" height="38" fill="{colour}"/>'
        )
        if width > 34:
            label = f"{figures[f'{mode}.{name}']:.1f}"
            parts.append(_text(left + 6, top + 56, label, 'fill="#ffffff"'))
        left += width
    line = _LEFT + scale * must
    parts.append(
        f'<path d="M{line:.1f} {top + 26}v50" stroke="#000000" stroke-dasharray="4 3" fill="none"/>'
    )
    parts.append(_text(line - 96, top + 90, f"budget {must:g} µs", ""))
    return parts


def _legend(top: int) -> list[str]:
    parts = []
    for number, (name, colour) in enumerate(_COLOURS.items()):
        left = _LEFT + 120 * number
        parts.append(f'<rect x="{left}" y="{top - 11}" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(left + 18, top, name, ""))
    return parts


def _text(left: float, top: float, words: str, style: str) -> str:
    safe = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{left:.1f}" y="{top}" {style}>{safe}</text>'
