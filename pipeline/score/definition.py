"""The challenges by name; a new one is a subclass of Challenge and an entry here."""

from pipeline.errors import UserError
from pipeline.score.challenge import Challenge
from pipeline.score.sdc1 import Sdc1
from pipeline.score.sdc2 import Sdc2

CHALLENGES: dict[str, type[Challenge]] = {"sdc1": Sdc1, "sdc2": Sdc2}


def challenge(name: str, **settings) -> Challenge:
    """The challenge of that name with its settings, which are the fields of its class.

    Raises
    ------
    UserError : an unknown name, or a value that a setting of the challenge does not take.
    """
    if name not in CHALLENGES:
        raise UserError("challenge", f'"{name}" is not known', f"give one of {', '.join(CHALLENGES)}")
    return CHALLENGES[name](**settings)
