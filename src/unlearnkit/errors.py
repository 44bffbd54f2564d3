"""Defines the named errors, whose messages say what was expected, what came, and what to do.

`exit_code` is what the command line exits with: 2 when the request was wrong, 1 when the work failed.
"""


class UnlearnkitError(Exception):
    """Base of every error that unlearnkit raises on purpose."""

    exit_code = 1


class InputError(UnlearnkitError):
    """An input cannot be used; nothing has been written."""

    exit_code = 2


class RequestError(InputError):
    """The forget request names classes that cannot be forgotten."""


class ConfigError(InputError):
    """A setting is out of its range or does not fit the data."""


class DataError(InputError):
    """A data source is missing, empty or corrupt."""


class ModelError(InputError):
    """A model cannot be built, or does not fit the data or the task."""


class WeightsError(InputError):
    """A weights file cannot be read or does not fit the model."""


class SeveralWeightsError(WeightsError):
    """A weights file holds several sets of weights, and none was chosen."""

    def __init__(self, message: str, keys: tuple[str, ...]) -> None:
        super().__init__(message)
        self.keys = keys


class OutputError(InputError):
    """An output folder cannot be written, or a run folder cannot be read."""


class AccessError(UnlearnkitError):
    """A method asked for data outside the parts it declared in `needs`."""


class NonFiniteLossError(UnlearnkitError):
    """A loss or a weight became NaN or infinite; the stage was stopped."""


class StageLossError(NonFiniteLossError):
    """The loss of a stage became NaN or infinite at one of its steps."""

    def __init__(self, stage: str, loss: float, step: int) -> None:
        self.stage, self.loss, self.step = stage, loss, step
        super().__init__(stage, loss, step)

    def __str__(self) -> str:
        return (
            f"The loss of stage '{self.stage}' became {self.loss} at step {self.step}; it was stopped. "
            "Lower the learning rate of that stage."
        )


class RetainedAccuracyError(UnlearnkitError):
    """A run has cost more retained accuracy than it may; nothing has been written."""


class ProcessError(UnlearnkitError):
    """The processes of a run cannot find each other, or one of them has died."""


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
