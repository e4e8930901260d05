"""What the sub-commands do that put sources into frames, and that find out how many are found again.

Every import of a room is inside its stage, so that `fleming --help` need not load torch.
"""

import argparse
import logging

from pipeline.detect_stages import checked_settings

log = logging.getLogger("fleming")


def inject(options: argparse.Namespace) -> None:
    from pipeline.simulate.insert import insert

    insert(options.frame, options.out, options.truth_out, _sources(options), options.seed, log=log.info)


def recover(options: argparse.Namespace) -> None:
    from pipeline.detect.recovery import recover as find_again
    from pipeline.detect.shipped import shipped_model

    result = find_again(
        options.image,
        options.model or shipped_model(2),
        options.out,
        _sources(options),
        rounds=options.rounds,
        seed=options.seed,
        purity=options.purity,
        device=options.device,
        log=log.info,
    )
    for span, row in result["complete_above"].items():
        if row["count"]:
            print(f"SNR {span}: {row['fraction']:.3f} of {row['count']} found ({row['low']:.3f} to {row['high']:.3f})")


def _sources(options: argparse.Namespace):
    from pipeline.simulate.insert_settings import InsertSettings

    given = {name: getattr(options, name, None) for name in InsertSettings.model_fields}
    return checked_settings(InsertSettings, given, options.stage)
