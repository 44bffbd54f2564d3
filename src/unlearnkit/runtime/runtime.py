"""Defines Runtime: device, precision, memory layout, batch sizes and processes, decided once for a run."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn

from unlearnkit.errors import ConfigError
from unlearnkit.network import evaluating
from unlearnkit.runtime.processes import Processes

Precision = Literal["auto", "fp32", "bf16", "fp64"]
BF16_PIXELS = 32  # images of a smaller side gain nothing from bf16 on a CPU


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how a run computes.

    Args:
        device: where tensors live; default: CUDA, else MPS, else the CPU.
        precision: `fp32`; `bf16`, automatic mixed precision; `fp64`, for comparisons; `auto`, what `fitted` finds.
        eval_batch_size: images per forward pass where no gradient of the weights is needed.
        micro_batch_size: images per forward and backward pass in training: a batch is cut into micro-batches of this
            size, whose gradients add up. None: whole batches, and micro-batches from the moment that memory runs out.
        channels_last: feed images in that memory layout; `fitted` finds out whether the model takes them.
        compile: train through `torch.compile`.
        count_operations: count floating-point operations too (`unlearnkit.runtime.operations`), which slows the run;
            it is refused beside `compile`, which torch leaves out, without a word, while somebody counts.
        processes: the processes that compute this run together.
    """

    device: torch.device = field(default_factory=_best_device)
    precision: Precision = "auto"
    eval_batch_size: int = 500
    micro_batch_size: int | None = None
    channels_last: bool = False
    compile: bool = False
    count_operations: bool = False
    processes: Processes = field(default_factory=Processes)

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ConfigError(
                f"Expected precision {', '.join(get_args(Precision))}, but got {self.precision!r}; auto is the default."
            )
        for name, value, default in (
            ("eval_batch_size", self.eval_batch_size, "500"),
            ("micro_batch_size", self.micro_batch_size, "none"),
        ):
            if value is not None and value < 1:
                raise ConfigError(f"Expected a positive {name}, but got {value}; {default} is the default.")
        if self.compile and self.count_operations:
            raise ConfigError(
                "Expected --compile or --count-operations, but got both, and nobody sees the operations of compiled "
                "code; leave one of them out."
            )

    @classmethod
    def named(
        cls,
        device: str | None,
        precision: Precision = "auto",
        *,
        micro_batch_size: int | None = None,
        compile: bool = False,
        count_operations: bool = False,
    ) -> Self:
        """Return the runtime of a device such as `cpu` or `cuda:1`; without a name, the best there is.

        Where a launcher has started several processes, this one joins them, and each gets its own device.

        Raises:
            ConfigError: torch does not know the device, or this machine does not have it; or see `count_operations`.
            ProcessError: the processes do not find each other.
        """
        chosen = None if device is None else device_named(device)
        processes, process_device = Processes.launched(cpu=chosen is not None and chosen.type == "cpu")
        return cls(
            device=process_device or chosen or _best_device(),
            precision=precision,
            micro_batch_size=micro_batch_size,
            compile=compile,
            count_operations=count_operations,
            processes=processes,
        )

    def fitted(self, model: nn.Module, shape: tuple[int, int, int], *, exact: bool = False) -> Self:
        """Return the runtime with each `auto` decided by fixed rules: the same model always gets the same choice.

        Precision `auto`: bf16 on a CUDA device that has it, and on a CPU that has instructions for it, where images
        are of 32 pixels or more and no convolution is grouped (depthwise ones are slower in bf16 on CPUs); else fp32.
        A model in float64 stays there. With `exact`, for measurements, `auto` is fp32. Channels-last: where the model
        has convolutions and takes such images; a model that calls `view` on feature maps may not. The figures behind
        the rules are in docs/log.md.

        Args:
            model: on any device.
            shape: (C, H, W) of the images.
            exact: choose fp32 where precision is `auto`.
        """
        precision = self.precision
        if next(model.parameters()).dtype == torch.float64:
            precision = "fp64"
        elif precision == "auto":
            precision = "bf16" if not exact and self._gains_from_bf16(model, shape) else "fp32"
        return replace(self, precision=precision, channels_last=_takes_channels_last(model, shape))

    def described(self) -> dict[str, str | int | bool]:
        """Return what was decided, for the run folder."""
        return {
            "device": str(self.device),
            "precision": self.precision,
            "channels_last": self.channels_last,
            "compile": self.compile,
            "processes": self.processes.count,
            "threads": torch.get_num_threads(),
            **({"count_operations": True} if self.count_operations else {}),
        }

    def alone(self) -> Self:
        """Return the runtime of this process without the others."""
        return replace(self, processes=Processes())

    def _gains_from_bf16(self, model: nn.Module, shape: tuple[int, int, int]) -> bool:
        if self.device.type == "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        if self.device.type != "cpu" or min(shape[1:]) < BF16_PIXELS:
            return False
        capable = torch.cpu.get_capabilities()
        grouped = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in model.modules())
        return not grouped and bool(capable.get("avx512_bf16") or capable.get("amx_bf16"))

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context in which forward passes run in the run's precision."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def weights(self, model: nn.Module) -> nn.Module:
        """Move a model to the run's device and memory layout, and to float64 if that is the precision."""
        model = model.to(self.device, torch.float64) if self.precision == "fp64" else model.to(self.device)
        return model.to(memory_format=torch.channels_last) if self.channels_last else model

    def inputs(self, images: Tensor) -> Tensor:
        """Move images (n, C, H, W) to the run's memory layout, and to float64 if that is the precision."""
        layout = torch.channels_last if self.channels_last else torch.preserve_format
        return images.to(dtype=torch.float64 if self.precision == "fp64" else images.dtype, memory_format=layout)

    def synchronize(self) -> None:
        """Wait until the device has finished its work, so that a clock can be read."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def device_named(name: str, *, here: bool = True) -> torch.device:
    """Return the device of this name.

    Args:
        name: such as `cpu` or `cuda:1`.
        here: whether this machine has to have it.

    Raises:
        ConfigError: torch does not know the device, or this machine does not have it.
    """
    try:
        if name.partition(":")[0] not in ("cpu", "cuda", "mps"):
            raise RuntimeError(name)
        chosen = torch.device(name)
        if here:
            torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"Expected a device that this machine has (cpu, cuda, cuda:N or mps), but got {name!r}; "
            "leave --device out for the best there is."
        ) from error
    return chosen


@torch.no_grad()
def _takes_channels_last(model: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Return whether the model has convolutions, and its forward pass works on channels-last images."""
    weight = next((m.weight for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if weight is None:
        return False
    images = torch.zeros((2, *shape), dtype=weight.dtype, device=weight.device).to(memory_format=torch.channels_last)
    try:
        with evaluating(model):
            model(images)
    except RuntimeError:  # `view` on what is not contiguous; with contiguous images check_model has passed
        return False
    return True
