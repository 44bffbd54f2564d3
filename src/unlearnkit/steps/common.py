"""What the steps share: data under the model's class list, requests, model cards."""

from __future__ import annotations
