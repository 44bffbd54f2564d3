"""Turns failures of downloads from the Hugging Face hub into errors of one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from unlearnkit.errors import InputError, reason


@contextmanager
def fetching(what: str, kind: type[InputError]) -> Iterator[None]:
    """Turn the Hugging Face hub's errors into one of `kind`; other errors pass.

    Raises:
        InputError: of the given kind, in place of the hub's own error.
    """
    from huggingface_hub import errors

    try:
        yield
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        offline_on_purpose = isinstance(error.__cause__ or error, errors.OfflineModeIsEnabled)
        why = "HF_HUB_OFFLINE is set" if offline_on_purpose else "the Hugging Face hub cannot be reached"
        do = "unset HF_HUB_OFFLINE" if offline_on_purpose else "connect once"
        raise kind(
            f"Expected {what}, but this machine is offline ({why}) and the cache does not hold it; "
            f"{do}, or copy the cache of another machine into HF_HOME."
        ) from error
    except errors.EntryNotFoundError as error:
        raise kind(
            f"Expected {what}, but the repository has no such file ({reason(error)}); choose another."
        ) from error
    except (errors.HfHubHTTPError, errors.HFValidationError) as error:
        raise kind(
            f"Expected {what}, but the Hugging Face hub refuses it ({type(error).__name__}: {reason(error)}); "
            "check the name, and log in with `hf auth login` where it is private."
        ) from error
