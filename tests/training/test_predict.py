"""Predictions are in order, in eval mode, and leave the model as it was."""

from __future__ import annotations

import pytest
import torch

from canonical import CPU, MODELS
from training_runs import images_and_labels
from unlearnkit.data.samples import TensorSamples
from unlearnkit.errors import ModelError
from unlearnkit.models import SmallCNN
from unlearnkit.network import logits_of
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.training.predict import predict


@pytest.mark.parametrize(
    "output",
    [torch.zeros(3), torch.zeros(3, 4, 1), (torch.zeros(3, 4),), {"logits": torch.zeros(3, 4)}, None],
    ids=["1-d", "3-d", "tuple", "dict", "none"],
)
def test_an_output_that_is_no_logits_is_refused(output: object) -> None:
    with pytest.raises(ModelError, match="logits"):
        logits_of(output)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch", [1, 5, 22, 500])
def test_predict_is_in_order_in_eval_mode_and_puts_the_mode_back(batch: int, training: bool) -> None:
    images, labels = images_and_labels(22, torch.float32)
    model = MODELS["cnn-grey"].model()
    wanted = model(images).detach()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    model.train(training)
    logits = predict(model, TensorSamples(images, labels), Runtime(device=torch.device("cpu"), eval_batch_size=batch))
    torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)
    assert all(m.training == training for m in model.modules())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert not logits.requires_grad


def test_predict_puts_back_the_mode_of_every_layer() -> None:
    images, labels = images_and_labels(4, torch.float32)
    model = MODELS["cnn-grey"].model().train()
    model.features[1].eval()  # type: ignore[union-attr,index]  # a BatchNorm held in eval mode, as in fine-tuning
    predict(model, TensorSamples(images, labels), CPU)
    assert [n for n, m in model.named_modules() if not m.training] == ["features.1"]


def test_predict_of_nothing_is_empty() -> None:
    assert len(predict(SmallCNN(4), TensorSamples(torch.empty(0, 1, 8, 8), torch.empty(0).long()), CPU)) == 0
