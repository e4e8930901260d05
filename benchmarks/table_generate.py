"""The README's rows on synthetic galaxies, from benchmarks/results/generate_*.json and inject.json, for `table.py`."""

from collections.abc import Callable
from typing import Any

NOT_MEASURED = "not measured"
Figures = dict[str, Any]
_TITLES = {
    "sersic": "simulated Sersic galaxies, 32 x 32, conditional",
    "mnist": "MNIST digits, 28 x 28, by class",
    "galaxy_zoo": "Galaxy Zoo colour pictures, 64 x 64, by class",
}


def rows(figures: Callable[[str], Figures | None]) -> list[str]:
    """The lines on synthetic galaxies; `figures` gives the figures of a result file, or None."""
    lines: list[str] = []
    for part, title in _TITLES.items():
        lines += [*_methods(title, figures(f"generate_{part}")), ""]
    return [*lines, *_flux(figures("generate_flux")), "", *_injected(figures("inject"))]


def _methods(title: str, found: Figures | None) -> list[str]:
    lines = [
        f"| {title} | mean W1 (real) | AUC (real) | AUC in features (real) | recall | nearest training stamp, ratio | "
        "flux, bias and scatter [dex] | recognised | training, CPU s | stamps per s |",
        "| --- " * 10 + "|",
    ]
    if found is None:
        return [*lines, f"| every method | {NOT_MEASURED} | | | | | | | | |"]
    for name, one in found["methods"].items():
        real, features = one["realism"], one["realism"]["features"] or {}
        flux = real["conditions"].get("flux")
        cells = [
            name.replace("_", " "),
            f"{_shown(real['mean_w1'])} ({_shown(real['mean_w1_floor'])})",
            f"{_shown(real['auc'])} ({_shown(real['auc_floor'])})",
            f"{_shown(features.get('auc'))} ({_shown(features.get('auc_floor'))})",
            _shown(features.get("recall"), "{:.2f}"),
            _shown(real["neighbours"]["ratio"], "{:.2f}"),
            "–" if flux is None else f"{flux['bias']:+.3f}, {flux['scatter']:.3f}",
            _recognised(one.get("recognised")),
            _shown(one.get("cpu_seconds"), "{:.0f}"),
            _shown(one["sampling"].get("stamps_per_second"), "{:.0f}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _recognised(found: Figures | None) -> str:
    """The share of samples that a classifier takes for what was asked, and its mean confidence."""
    if not found:
        return "–"
    return f"{_shown(found.get('accuracy'), '{:.1%}')}, confidence {_shown(found.get('confidence'))}"


def _flux(found: Figures | None) -> list[str]:
    lines = [
        "| flux measured over flux asked for, median (16 %, 84 %) | by flow | in real stamps |",
        "| --- | --- | --- |",
    ]
    if found is None:
        return [*lines, f"| flux | {NOT_MEASURED} | |"]
    flux = found["methods"]["flow"]["realism"]["conditions"]["flux"]
    unit = found["conditions"]["flux"]
    for made, held in zip(flux["by_decade"], flux["held"]["by_decade"], strict=True):
        cells = [f"{one['ratio']:.3f} ({one['ratio_16']:.2f}, {one['ratio_84']:.2f})" for one in (made, held)]
        lines.append(f"| {made['low']:.1g} to {made['high']:.1g} {unit} | {cells[0]} | {cells[1]} |")
    return lines


def _injected(found: Figures | None) -> list[str]:
    lines = [
        "| completeness of the detector, by true SNR | simulated sources | put into an image | difference |",
        "| --- " * 4 + "|",
    ]
    if found is None:
        return [*lines, f"| detector | {NOT_MEASURED} | | |"]
    for span, difference in found["difference"].items():
        shares = [found[name]["complete_above"][span]["fraction"] for name in ("simulated", "injected")]
        lines.append(f"| {span} | {shares[0]:.3f} | {shares[1]:.3f} | {difference:+.1%} |")
    return lines


def _shown(value: float | None, form: str = "{:.3f}") -> str:
    return "–" if value is None else form.format(value)
