"""The README's rows on detection, from benchmarks/results/detect_*.json; `table.py` puts them in."""

from collections.abc import Callable
from typing import Any

import numpy as np

NOT_MEASURED = "not measured"
Figures = dict[str, Any]

# what is shown of one catalogue, and how
MEASURES: tuple[tuple[str, Callable[[Figures], float | None], str], ...] = (
    ("SDC1 score, own position angles", lambda one: one["score"], "{:,.0f}"),
    ("the same with one constant position angle for all", lambda one: one["score_constant"], "{:,.0f}"),
    ("purity", lambda one: one["purity"], "{:.3f}"),
    ("AP by the score's match, SNR > 3", lambda one: one["ap"]["snr_above_3"]["match"]["ap"], "{:.3f}"),
    ("completeness at SNR 4-5", lambda one: one["complete_above"]["4-5"]["fraction"], "{:.3f}"),
    ("sub-score of flux", lambda one: one["sub_scores"]["flux"], "{:.3f}"),
    ("sub-score of the major axis", lambda one: one["sub_scores"]["b_maj"], "{:.3f}"),
    ("sub-score of the minor axis", lambda one: one["sub_scores"]["b_min"], "{:.3f}"),
    ("position angle, median error [deg]", lambda one: one["errors"]["pa_error_deg"]["median"], "{:.1f}"),
    ("major axis, median error [arcsec]", lambda one: one["errors"]["b_maj_error_arcsec"]["median"], "{:.3f}"),
    ("flux, largest bias in a bin of SNR above 5", lambda one: _flux_bias(one), "{:.1%}"),
    ("share of fluxes within one error bar", lambda one: _coverage(one, "flux"), "{:.3f}"),
    ("share of major axes within one error bar", lambda one: _coverage(one, "deconvolved_major"), "{:.3f}"),
    ("calibration error of the probability (ECE)", lambda one: one["reliability"]["ece"], "{:.3f}"),
    ("purity where 0.95 was asked", lambda one: one["asked 0.95"]["purity"], "{:.3f}"),
    ("purity where 0.99 was asked", lambda one: one["asked 0.99"]["purity"], "{:.3f}"),
    ("Mpix per CPU second, from file to catalogue", lambda one: one["mpix_per_cpu_second"], "{:.2f}"),
)


def rows(figures: Callable[[str], Figures | None]) -> list[str]:
    """The lines on detection; `figures` gives the figures of a result file, or None."""
    return [
        *_fields(figures("detect_fields")),
        "",
        *_sdc1(figures("detect_sdc1")),
        "",
        *_sizes(figures("detect_sizes")),
        "",
        *_real(figures("detect_real")),
    ]


def _fields(found: Figures | None) -> list[str]:
    title = "| 2048 x 2048 fields that nobody trained on |"
    if found is None:
        return [f"{title} |", "| --- | --- |", f"| score | {NOT_MEASURED} |"]
    seeds = [one for name, one in found["fields"].items() if name.startswith("seed")]
    other = found["fields"]["independent simulator"]
    lines = [
        f"{title} shipped weights, {len(seeds)} seeds of our simulator | independent simulator | with 8 symmetries "
        "| sep tuned, independent simulator |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, take, form in MEASURES:
        values = [_value(take, one["ours"]) for one in seeds]
        shown = [_spread(values, form)]
        shown += [_shown(_value(take, other[who]), form) for who in ("ours", "ours, symmetric", "sep, tuned")]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return lines


def _sdc1(found: Figures | None) -> list[str]:
    lines = ["| official SDC1 cut-out, mean over four folds | score | ratio to sep as given "]
    lines[0] += "| to sep, flux and size floors tuned | to sep, corrections tuned | to sep, all tuned | purity |"
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    if found is None:
        return [*lines, f"| detector | {NOT_MEASURED} | | | | | |"]
    folds = list(found["folds"].values())
    peers = [name for name in folds[0] if name.startswith("sep")]
    for who in folds[0]:
        ratios = [_spread([fold[who]["score"] / fold[peer]["score"] for fold in folds], "{:.2f}") for peer in peers]
        score, purity = (np.mean([fold[who][name] for fold in folds]) for name in ("score", "purity"))
        lines.append(f"| {who} | {score:,.0f} | " + " | ".join(ratios) + f" | {purity:.3f} |")
    return lines


def _sizes(found: Figures | None) -> list[str]:
    lines = ["| network, trained equally long on half a field | parameters | kMAC a pixel | score on the other half "]
    lines[0] += "| Mpix per CPU second |"
    lines.append("| --- | --- | --- | --- | --- |")
    if found is None:
        return [*lines, f"| detector | | | {NOT_MEASURED} | |"]
    for name, one in found.items():
        if isinstance(one, dict):
            cost = f"{_shown(one.get('weights'), '{:,}')} | {one['macs_per_pixel'] / 1e3:.1f}"
            lines.append(f"| {name} | {cost} | {one['score']:,.0f} | {one['mpix_per_cpu_second']:.2f} |")
    return lines


def _real(found: Figures | None) -> list[str]:
    title = "| [real fields](benchmarks/results/detect_real.png), adapted without labels | sources "
    lines = [
        title + "| found of another finder's brightest 20 | of all it lists | rms before and after, in units of noise |"
    ]
    lines.append("| --- | --- | --- | --- | --- |")
    if found is None:
        return [*lines, f"| detector | {NOT_MEASURED} | | | |"]
    for name, one in found.items():
        if isinstance(one, dict):
            listed = one.get("found", {})
            least, whole = listed.get("of the brightest 20", "–"), list(listed)[-1:]
            all_of_it = f"{listed[whole[0]]} of {whole[0].split()[-1]}" if whole else "–"
            left = f"{one['rms_before']:.2f}, {one['rms_after']:.2f}"
            lines.append(f"| {name} | {one['sources']} | {least} | {all_of_it} | {left} |")
    return lines


def _value(take: Callable[[Figures], float | None], one: Figures) -> float | None:
    try:
        return take(one)
    except (KeyError, TypeError):
        return None


def _flux_bias(one: Figures) -> float | None:
    bins = one["parameters"]["flux"]
    large = [
        bias
        for low, bias in zip(bins["low"], bins["bias"], strict=True)
        if low is not None and low >= 5 and bias is not None
    ]
    return max(large, key=abs) if large else None


def _coverage(one: Figures, name: str) -> float | None:
    return one["coverage"][name]["coverage"]


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _spread(values: list[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{form.format(np.mean(known))} ± {form.format(np.std(known, ddof=1)) if len(known) > 1 else '–'}"
