"""Linear probe: how well the forgotten classes can be read off the features, whatever the head says."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from unlearnkit import Part, Runtime, Split
from unlearnkit.data import ImageData
from unlearnkit.models.head import find_head

PER_CLASS = 500  # test samples of each class, half to train the probe and half to test it


@torch.no_grad()
def linear_probe(model: nn.Module, data: ImageData, split: Split, runtime: Runtime) -> float:
    """Recall of the forgotten classes by a logistic regression on the features at the head's input, in [0, 1].

    Trained and tested on held-out (test) samples of all classes, both halves in turn; standardised, C = 0.01.
    """
    rows = torch.cat([split[Part.RETAIN_TEST], split[Part.FORGET_TEST]])
    labels = data.labels("test")[rows]
    chosen = torch.cat([torch.nonzero(labels == k).flatten()[:PER_CLASS] for k in labels.unique().tolist()])
    rows, labels = rows[chosen], labels[chosen]
    features = _features(model, data, rows, runtime)
    order = np.random.RandomState(0).permutation(len(rows))
    right = total = 0
    for train, test in ((order[::2], order[1::2]), (order[1::2], order[::2])):
        scaler = StandardScaler().fit(features[train])
        probe = LogisticRegression(C=0.01, max_iter=300).fit(scaler.transform(features[train]), labels[train].numpy())
        truth = labels[test].numpy()
        forgotten = np.isin(truth, split.request.forget)
        predicted = probe.predict(scaler.transform(features[test][forgotten]))
        right, total = right + int((predicted == truth[forgotten]).sum()), total + int(forgotten.sum())
    return right / total


def _features(model: nn.Module, data: ImageData, rows: Tensor, runtime: Runtime) -> np.ndarray:
    seen: list[Tensor] = []
    head = model.get_submodule(find_head(model, num_classes=len(data.classes), shape=data.shape))
    handle = head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].float().flatten(1).cpu()))
    model.eval().to(runtime.device)
    with runtime.autocast():
        for part in rows.split(runtime.eval_batch_size):
            model(data.normalise(data.test.images(part, runtime.device)))
    handle.remove()
    return torch.cat(seen).numpy()
