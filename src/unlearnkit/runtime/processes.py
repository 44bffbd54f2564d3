"""Joins the processes that `accelerate launch` or `torchrun` starts, which compute one run together.

Every process draws the same batches from the same generators and computes its own share of each; gradients, losses
and counts are summed over all. One process, the usual case, needs no communication at all.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import torch
from torch import Tensor, nn

from unlearnkit.errors import ProcessError

PATIENCE = timedelta(minutes=10)  # a process that waits longer for the others gives up with an error


@dataclass(frozen=True, kw_only=True)
class Processes:
    """How many processes compute this run, and the rank of this one.

    Args:
        rank: number of this process, from 0.
        count: number of processes.
        device: where they exchange tensors; None: wherever a tensor is.
    """

    rank: int = 0
    count: int = 1
    device: torch.device | None = None

    @classmethod
    def launched(cls, *, cpu: bool) -> tuple[Self, torch.device | None]:
        """Join the processes that a launcher has started (if any), and return them with this one's device.

        Args:
            cpu: compute on the CPU (gloo) whatever accelerators there are.

        Raises:
            ProcessError: the processes do not find each other.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
            return cls(), None
        # Its functions' default argument is the group of the moment of import, and torch.optim imports it: after
        # joining, that would keep the group's threads alive for ever, and one of them may outlive the interpreter.
        import torch.distributed.nn
        from accelerate import PartialState

        try:
            state = PartialState(cpu=cpu or not torch.cuda.is_available(), timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise ProcessError(
                f"Expected to join {os.environ['WORLD_SIZE']} processes, but it failed ({str(error).splitlines()[0]}); "
                "start them with `torchrun` or `accelerate launch`."
            ) from error
        # a process that ends with the group's threads still running is at times aborted ("terminate called")
        atexit.register(_leave_group)
        device = torch.device("cpu") if state.device.type == "cpu" else state.device
        return cls(rank=state.process_index, count=state.num_processes, device=device), device

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Return the slice of `n` things that this process computes; sizes differ by at most one."""
        size, extra = divmod(n, self.count)
        start = self.rank * size + min(self.rank, extra)
        return slice(start, start + size + (self.rank < extra))

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace the tensors by their sums over all processes, in one exchange for each dtype.

        Raises:
            ProcessError: another process has died.
        """
        if self.count == 1:
            return
        from accelerate.utils import reduce

        for dtype in {t.dtype for t in tensors}:
            group = [t for t in tensors if t.dtype == dtype]
            flat = torch.cat([t.detach().reshape(-1) for t in group]).to(self.device)
            try:
                total: Tensor = reduce(flat, reduction="sum")
            except RuntimeError as error:  # torch's DistError is one
                raise ProcessError(
                    "Expected every process of this run to answer, but one has died or does not answer "
                    f"({str(error).splitlines()[0]}); its own message says why. Nothing has been written."
                ) from error
            for tensor, part in zip(group, total.split([t.numel() for t in group]), strict=True):
                tensor.detach().copy_(part.view_as(tensor))

    def gather(self, share: Tensor, n: int) -> Tensor:
        """Join the shares of `n` rows that the processes computed, in order; every process gets all rows.

        Args:
            share: (share of n, ...), this process's rows.
            n: number of rows altogether.

        Raises:
            ProcessError: another process has died.
        """
        if self.count == 1:
            return share
        whole = torch.zeros((n, *share.shape[1:]), dtype=share.dtype, device=share.device)
        whole[self.share(n)] = share
        self.sum([whole])
        return whole

    def average_buffers(self, model: nn.Module) -> None:
        """Give all processes the mean of the model's floating-point buffers (BatchNorm's running statistics)."""
        if self.count == 1:
            return
        buffers = [b for b in model.buffers() if b.is_floating_point()]
        self.sum(buffers)
        for buffer in buffers:
            buffer.div_(self.count)

    def leave(self) -> None:
        """Leave the group of processes; what follows runs in this process alone."""
        if self.count > 1:
            _leave_group()


def _leave_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
