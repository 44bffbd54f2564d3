"""Says what figures were measured on: the device, the commit; and what is recorded of an error."""

from __future__ import annotations

import os
import platform
import subprocess
import traceback
from pathlib import Path
from typing import Any

import torch

from unlearnkit import Runtime


def failure(error: Exception) -> dict[str, str]:
    """What is recorded of an error, while it is handled."""
    return {"type": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}


def hardware() -> dict[str, Any]:
    """What the figures were measured on."""
    cuda = torch.cuda.is_available()
    return {
        "device": str(Runtime().device),
        "name": torch.cuda.get_device_name() if cuda else platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
    }


def commit() -> str | None:
    """The commit of this file's repository, where git knows it."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
