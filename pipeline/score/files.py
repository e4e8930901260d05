"""Score a catalogue file against a truth file, checked first."""

import os

from pipeline.errors import UserError, UserErrors
from pipeline.score.definition import challenge as named_challenge
from pipeline.score.match import score
from pipeline.score.tables import read_table
from pipeline.score.validate import check_matches, check_table, check_units


def score_files(
    challenge: str,
    truth: str | os.PathLike,
    catalogue: str | os.PathLike,
    frequency: int | None = None,
    mode: str = "core",
    area: str = "all",
    official: bool = False,
    where: object = None,
) -> dict:
    """The score of a catalogue as a dictionary for `write_json`, with the official keys.

    Parameters
    ----------
    challenge : a name in `CHALLENGES`.
    truth, catalogue : text, CSV, FITS, ECSV or VOTable with official or Fleming's columns; see `read_table`.
    frequency : in MHz, for SDC1 only. mode, area : for SDC1 only, see `Sdc1`.
    where : how messages name the catalogue, None for by its path.
    official : skip all checks and clean the tables as the official scorer does.

    Raises
    ------
    UserError, UserErrors : a setting or a table is wrong, see `read_table`, `check_table` and `check_units`.
    """
    where = catalogue if where is None else where
    settings = {"frequency": frequency, "mode": mode, "area": area} if challenge == "sdc1" else {}
    definition = named_challenge(challenge, **settings)
    tables, problems = {}, []
    for path, is_truth in ((catalogue, False), (truth, True)):
        try:
            tables[is_truth] = read_table(path, definition, truth=is_truth, official=official)
            if not official:
                check_table(tables[is_truth], definition, path if is_truth else where, truth=is_truth)
        except UserError as error:
            problems.append(error)
    if problems:
        raise UserErrors(problems)
    result = score(definition, tables[False], tables[True])
    if not official:
        check_units(result, tables[False], tables[True], definition, where)
    check_matches(result, tables[False], where)
    return {
        "challenge": challenge,
        "settings": {**definition.settings(), "official": official},
        **result.as_dict(),
        "n_truth_rows": len(tables[True]),
        "n_submission_rows": len(tables[False]),
    }
