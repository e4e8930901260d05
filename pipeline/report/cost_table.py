"""What a network costs, on the page: its training in figures, and its layers."""

from typing import Any

from pipeline.report.html import Markup, count, duration, percent, table, tag


def cost_tiles(training: dict[str, Any], unit: str) -> Markup:
    """Boxes with what a training cost, from training.json; `unit` is what the network takes one of at a time."""
    energy, device = training.get("energy_joule"), training.get("device") or {}
    early = ", stopped early" if training.get("stopped") == "early" else ""
    tiles = [
        ("Parameters", count(training.get("parameters")), "numbers fitted in training"),
        ("Operations", count(training.get("macs")), f"multiply-adds for one {unit}"),
        (
            "Training",
            duration(training.get("seconds")),
            f"{training.get('epochs_run')} epochs, best {training.get('best_epoch')}{early}",
        ),
        ("Throughput", f"{count(training.get('samples_per_second'))} /s", f"{unit}s in training"),
        ("Waiting for data", percent(training.get("data_wait_share")), "of the training time"),
        (
            "Energy",
            "not reported" if energy is None else _energy(energy),
            "by this machine" if energy is None else "measured while training",
        ),
        (
            "Device",
            device.get("name") or device.get("kind") or "unknown",
            f"{device.get('kind', '')}, {device['cores']} processor cores" if "cores" in device else "",
        ),
    ]
    boxes = [
        tag("div", tag("dt", name), tag("dd", value), tag("dd", note, class_="muted"), class_="tile")
        for name, value, note in tiles
    ]
    return tag("dl", *boxes, class_="tiles")


def _energy(joule: float) -> str:
    return f"{joule / 3.6e6:.2f} kWh" if joule >= 3.6e5 else f"{joule / 1000:.2f} kJ"


def layer_table(cost: list[dict[str, Any]]) -> Markup:
    """The layers of a network, from cost.json, and their sums."""
    rows = [
        [
            row["name"],
            tag("code", row["token"]),
            " × ".join(str(size) for size in row["output_shape"]),
            f"{row['parameters']:,}",
            f"{row['macs']:,}",
        ]
        for row in cost
    ]
    total = [tag("strong", f"{sum(row[key] for row in cost):,}") for key in ("parameters", "macs")]
    rows.append([tag("strong", "total"), "", "", *total])
    return table(["layer", "token", "output", "parameters", "multiply-adds"], rows, numbers=(2, 3, 4))
