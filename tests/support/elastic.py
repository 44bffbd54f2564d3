"""Runs a case of `several.py` in two processes of torch's own launcher, which it forks: `elastic.py CASE OUT`."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import several

if __name__ == "__main__":
    # what `torchrun --standalone --nproc-per-node 2` makes of its words, but for the fork
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="fork",
    )
    elastic_launch(config, several.work)(sys.argv[1], Path(sys.argv[2]))
