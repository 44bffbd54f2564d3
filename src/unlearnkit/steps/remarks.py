"""Says once, before the work of a step begins, what a person should know of its data."""

from __future__ import annotations

from unlearnkit.data import ImageData
from unlearnkit.data.remarks import remarks_on
from unlearnkit.runtime.progress import Progress


def say_remarks(data: ImageData, progress: Progress | None) -> None:
    """Print a line for each remark on the data; config.json records the same (`record.data_record`)."""
    if progress is not None:
        for remark in remarks_on(data):
            progress.say(f"note: {remark}")
