"""Every error that a user can meet.

Each message names what was found, where, and what to do about it, because the command lines print the message alone:
a traceback is for mistakes of ours. Everything here derives from `CxrfastError`; a command ends with status 2 on it.
"""


class CxrfastError(Exception):
    """A mistake in input, settings or environment that the user can mend; `str()` of it is the whole story."""


class SourceError(CxrfastError):
    """A folder is not the release it was said to be, or its label file cannot be read."""


class ImageRejected(CxrfastError):
    """One file cannot become an 8-bit gray image.

    `code` is one of `missing`, `empty`, `truncated`, `not-an-image`, `unsupported`, `too-large`.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class PackError(CxrfastError):
    """Packing cannot start or go on: another plan in the folder, too many rejects, a source that stopped answering."""


class ShardSetError(CxrfastError):
    """A shard set is absent, unfinished, of another format, or not what its own records say."""


class QueryError(CxrfastError):
    """A `select` expression is malformed, names an unknown column, or tries more than comparing."""


class SplitError(CxrfastError):
    """A split was asked for that its fraction, seed or sizes do not allow."""


class LabelError(CxrfastError):
    """A task, target or label policy does not fit the data."""


class DamagedSample(CxrfastError):
    """A stored sample cannot be read or decoded; names data set, key, shard and path."""


class LoaderError(CxrfastError):
    """A loader was asked for something that its sizes, ranks or backends do not allow."""


class StateMismatch(CxrfastError):
    """A saved state belongs to other data or settings; names what differs."""


class WeightsError(CxrfastError):
    """Starting weights cannot be had or do not fit the model."""


class ConfigError(CxrfastError):
    """An experiment file or override is wrong; names the key and the nearest known one."""


class TrainingError(CxrfastError):
    """Training cannot go on, such as on a loss that is not a number; names the step and the samples.

    `rows` are the rows of the training set that the batch held, where one batch is to blame; its keys are theirs.
    """

    def __init__(self, message: str, *, rows: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.rows = rows


class EvaluationError(CxrfastError):
    """Scores and labels do not fit each other, or ask for a statistic that they cannot give; names class and row."""


class RunMismatch(CxrfastError):
    """A run folder holds a run of other settings or other data; names what differs."""
