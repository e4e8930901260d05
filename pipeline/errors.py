"""The messages that a user meets: one sentence that says where, what is wrong and what to do."""

from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend; the command line prints it and exits with code 2.

    Parameters
    ----------
    where : the file, key or row that the problem is in, as the user would name it.
    what : what is wrong, without a full stop.
    remedy : what to do about it, an imperative without a full stop.
    """

    def __init__(self, where: object, what: str, remedy: str):
        self.where, self.what, self.remedy = str(where), what, remedy
        super().__init__(f"{self.where}: {what}; {remedy}.")

    @property
    def problems(self) -> list["UserError"]:
        """The single problems that this error stands for, one line each."""
        return [self]


class UserErrors(UserError):
    """Several problems found in one pass, so that a user mends them all at once."""

    def __init__(self, problems: Iterable[UserError]):
        self._problems = [single for problem in problems for single in problem.problems]
        if not self._problems:
            raise ValueError("UserErrors needs at least one problem")
        first = self._problems[0]
        super().__init__(first.where, first.what, first.remedy)
        self.args = ("\n".join(str(problem) for problem in self._problems),)

    @property
    def problems(self) -> list[UserError]:
        return self._problems


class FlemingWarning(UserWarning):
    """Base of the named warnings: the result is right, but the user should know something."""
