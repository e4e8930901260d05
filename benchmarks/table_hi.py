"""The README's rows on HI cubes, from benchmarks/results/detect_hi_*.json; `table.py` puts them in."""

from collections.abc import Callable
from typing import Any

NOT_MEASURED = "not measured"
Figures = dict[str, Any]
# The first is what the model is shipped for.
_WAYS = ("symmetric", "plain")


def rows(figures: Callable[[str], Figures | None]) -> list[str]:
    """The lines on HI cubes; `figures` gives the figures of a result file, or None."""
    return [
        *_cubes(figures("detect_hi_cubes")),
        "",
        *_inclination(figures("hi_inclination")),
        "",
        *_sizes(figures("detect_hi_sizes"), "network for HI cubes"),
        "",
        *_sizes(figures("detect_hi_faint"), "galaxies just too faint to be learnt: sky, or ignored"),
        "",
        *_real(figures("detect_hi_real")),
    ]


def _pooled(*path: str, form: str = "{:.3f}") -> Callable[[Figures], str]:
    """Shows a figure of all cubes together."""
    return lambda one: _shown(_at(one["pooled"], *path), form)


def _over_cubes(*path: str, form: str = "{:.3f}") -> Callable[[Figures], str]:
    """Shows mean, standard deviation over cubes and standard error of the mean of a figure."""

    def show(one: Figures) -> str:
        found = _at(one["over cubes"], *path) or {}
        parts = [_shown(found.get(name), form) for name in ("mean", "sd", "standard_error")]
        return f"{parts[0]} ± {parts[1]} ({parts[2]})"

    return show


def _coverage(one: Figures) -> str:
    """The least and greatest share of truths within their error bars, of all parameters."""
    found = [row["coverage"] for row in one["pooled"]["coverage"].values() if row["coverage"] is not None]
    return f"{min(found):.2f} to {max(found):.2f}" if found else "–"


_MATCHED = ("rankings", "matched_filter")
# what is shown of one way of searching, how, and what is aimed for
_MEASURES: tuple[tuple[str, Callable[[Figures], str], str], ...] = (
    ("score per true source: mean ± deviation over cubes (error of the mean)", _over_cubes("score_per_truth"),
     "0.065, better 0.078"),
    ("the same, candidates in the order of a matched filter alone, cut by validation",
     _over_cubes("matched filter, chosen", "score_per_truth"), "–"),
    ("the same, cut in hindsight", _over_cubes("matched filter, best", "score_per_truth"), "–"),
    ("network less matched filter, both cut by validation", _over_cubes("matched filter, chosen", "network_more"),
     "above 0"),
    ("purity", _pooled("purity"), "0.92"),
    ("completeness above SNR 5", _pooled("complete_above", "5", "fraction"), "–"),
    ("completeness above SNR 7", _pooled("complete_above", "7", "fraction"), "0.90"),
    ("AP by the score's match, SNR > 5", _pooled("ap", "snr_above_5", "match"), "–"),
    ("the same by the matched filter alone", _pooled(*_MATCHED, "ap", "snr_above_5", "match"), "–"),
    ("AP at IoU 0.1, SNR > 5", _pooled("ap", "snr_above_5", "iou 0.1"), "–"),
    ("AP at IoU 0.3, SNR > 5", _pooled("ap", "snr_above_5", "iou 0.3"), "–"),
    ("AP at IoU 0.5, SNR > 5", _pooled("ap", "snr_above_5", "iou 0.5"), "–"),
    ("sub-score of the position angle", _pooled("sub_scores", "pa"), "0.75"),
    ("sub-score of the flux", _pooled("sub_scores", "flux"), "0.62"),
    ("sub-score of the inclination", _pooled("sub_scores", "i"), "0.83"),
    ("sub-score of the HI size", _pooled("sub_scores", "hi_size"), "–"),
    ("sub-score of the line width", _pooled("sub_scores", "w20"), "–"),
    ("share of truths within one error bar, least and greatest of the parameters", _coverage, "0.60 to 0.76"),
    ("calibration error of the probability (ECE)", _pooled("reliability", "ece"), "0.05"),
    ("Mvoxel per CPU second, from file to catalogue", _over_cubes("speed", "mvoxel_per_cpu_second", form="{:.2f}"),
     "5"),
    ("the same without reading", _over_cubes("speed", "mvoxel_per_cpu_second_without_reading", form="{:.2f}"), "–"),
)  # fmt: skip


def _cubes(found: Figures | None) -> list[str]:
    title = "| simulated HI cubes of the density and noise of the SDC2 that nobody trained on |"
    if found is None:
        return [f"{title} |", "| --- | --- |", f"| score per true source | {NOT_MEASURED} |"]
    size = " x ".join(str(side) for side in found["sky"]["shape"])
    ways = [found[way] for way in _WAYS]
    count = len(ways[0]["by cube"])
    lines = [
        f"{title} {count} cubes of {size} voxels, {ways[0]['pooled']['n_truth']:,} galaxies | without the average "
        "over symmetries | aim |",
        "| --- | --- | --- | --- |",
    ]
    return [*lines, *(f"| {name} | {' | '.join(show(one) for one in ways)} | {aim} |" for name, show, aim in _MEASURES)]


def _inclination(found: Figures | None) -> list[str]:
    """The most that a detector could say of simulated discs."""
    ways = ("known", "projected")
    lines = [
        "| sub-score of the inclination of simulated discs, at best | all else is known | "
        "size, width, angle and place are not |",
        "| --- | --- | --- |",
    ]
    if found is None:
        return [*lines, f"| above an SNR of 5 | {NOT_MEASURED} | |"]
    names = {"all": "above an SNR of 5"} | {name: f"SNR of {name}" for name in found if " to " in name}
    for name, text in names.items():
        shown = " | ".join(_shown(found[name][way], "{:.3f}") for way in ways)
        lines.append(f"| {text.replace('10 to inf', '10 and more')} ({found[name]['galaxies']} discs) | {shown} |")
    return lines


def _sizes(found: Figures | None, title: str) -> list[str]:
    what = title if found is None else f"{title}, each after {found['cpu_minutes']:g} CPU minutes of training"
    lines = [
        f"| {what} | parameters | kMAC a voxel | score per true source | matched filter on its candidates | purity "
        "| AP, SNR > 5 | Mvoxel per CPU second |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    if found is None:
        return [*lines, f"| detector | | | {NOT_MEASURED} | | | | |"]
    for name, one in found["networks"].items():
        score = f"{_shown(one['score_per_truth'], '{:.3f}')} ± {_shown(one['score_sd']['score_per_truth'], '{:.3f}')}"
        cells = [
            name,
            f"{one['parameters']:,}",
            f"{one['macs_per_voxel'] / 1e3:.1f}",
            score,
            _shown(_at(one, "matched filter, chosen", "score_per_truth"), "{:.3f}"),
            _shown(one["purity"], "{:.3f}"),
            _shown(_at(one, "ap", "snr_above_5", "match"), "{:.3f}"),
            _shown(_at(one, "speed", "mvoxel_per_cpu_second", "mean"), "{:.2f}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _real(found: Figures | None) -> list[str]:
    lines = [
        "| real HI cubes | detections as it ships | adapted | as it should be, adapted | the brightest, adapted |",
        "| --- | --- | --- | --- | --- |",
    ]
    if found is None:
        return [*lines, f"| detector | {NOT_MEASURED} | | | |"]
    for name, ways in found.items():
        if not (isinstance(ways, dict) and "adapted" in ways):
            continue
        one = ways["adapted"]
        hoped = "its galaxy is found" if one["galaxy"] is not None else "nearly nothing is there"
        counts = " | ".join(str(ways[way]["detections"]) for way in ("as it ships", "adapted"))
        yes = "yes" if one["as hoped"] else "no"
        lines.append(f"| {name} | {counts} | {hoped}: {yes} | {_brightest(one['brightest'])} |")
    return lines


def _brightest(found: list[Figures]) -> str:
    if not found:
        return "–"
    one = found[0]
    return (
        f"{one['line_flux_kms']:.0f} Jy km/s, {one['hi_size']:,.0f} arcsec, {one['velocity']:.0f} km/s, "
        f"w20 {one['w20']:.0f} km/s, i {one['inclination']:.0f}, PA {one['pa']:.0f} deg"
    )


def _at(value: Any, *path: str) -> Any:
    """What lies at a path of keys, None where it ends early."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
