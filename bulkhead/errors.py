"""Everything that can go wrong in a way that a user can act upon.

An OSError ends with one line and code 71. Any other exception is a defect of Bulkhead itself and
ends with a traceback and code 70.
"""


class BulkheadError(Exception):
    """Ends the command. Each line says what, where, which value, and what to do about it."""

    code = 1

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class UsageError(BulkheadError):
    """The command line is wrong."""

    code = 2


class ConfigError(BulkheadError):
    """The topology or a drill is wrong; nothing was started. A line per problem, all at once."""

    code = 3


class MissingError(BulkheadError):
    """A program that the stack needs is not installed."""

    code = 4


class StateError(BulkheadError):
    """The stack is not in the state that the command needs."""

    code = 5


class StartError(BulkheadError):
    """The stack, a part of it or a load did not become ready."""

    code = 6


class EvidenceError(BulkheadError):
    """The records do not add up, so no figure is given."""

    code = 7
