"""Defines the options that several commands share, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from unlearnkit.errors import ConfigError

DATA_HELP = (  # written out, so that --help need not import what loads them; a test holds it to the registry
    "digits, parquet:DIR, imagefolder:DIR, hf:NAME, torchvision:NAME:ROOT, or a source that an installed package adds"
)
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="see `unlearnkit models`: a built-in name, timm:NAME, torchvision:NAME, transformers:DIR_OR_NAME, "
        "package.module:factory",
    ),
]
MaybeModel = Annotated[
    str | None, typer.Option("--model", help="architecture; default: the one recorded with the weights")
]
MaybeWeights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="trained model: a safetensors or state_dict file, hf-hub:ORG/NAME, or a folder of transformers, which "
        "--model transformers:DIR_OR_NAME names as well",
        show_default=False,
    ),
]
WeightsKey = Annotated[
    str | None,
    typer.Option(
        "--weights-key",
        help="which weights to read of a file that holds several: the key they lie under, as model_ema, or what their "
        "names begin with; a dot alone: nothing",
    ),
]
MethodName = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="see `unlearnkit methods`: a name, or package.module:Class; default: auto, and sisa after train --shards",
    ),
]
TunedMethod = Annotated[str | None, typer.Option("--method", help="the method to tune; default: unsir")]
Preset = Annotated[str, typer.Option("--preset", help="default, or another of `unlearnkit methods`")]
Data = Annotated[str, typer.Option("--data", help=DATA_HELP, show_default=False)]
MaybeData = Annotated[str | None, typer.Option("--data", help=f"{DATA_HELP}; default: that of --of")]
Of = Annotated[
    Path | None,
    typer.Option("--of", help="run folder of the trained model, in place of --weights and --data"),
]
Shards = Annotated[
    int | None,
    typer.Option("--shards", help="train one network on each of S parts of the data, for exact unlearning (SISA)"),
]
Slices = Annotated[
    int | None,
    typer.Option("--slices", help="steps in which each shard is learned; a state is kept after each; default: 1"),
]
DpEpsilon = Annotated[
    float | None,
    typer.Option("--dp-epsilon", help="train with differential privacy (opacus): epsilon for one sample"),
]
DpDelta = Annotated[
    float | None, typer.Option("--dp-delta", help="delta for one sample; default: a tenth of one in the samples")
]
DpMaxGradNorm = Annotated[
    float | None,
    typer.Option("--dp-max-grad-norm", help="length that each sample's gradient is clipped to; default: 1"),
]
Out = Annotated[Path, typer.Option("--out", help="folder to write; must not exist", show_default=False)]
Forget = Annotated[list[str], typer.Option("--forget", help="class to forget, by name or id; repeatable")]
ForgetRows = Annotated[
    Path | None,
    typer.Option(
        "--forget-rows",
        help="rows to forget: CSV or Parquet with one column, `row` (training rows from 0), `file_name`, `sha256`, or "
        "a column of the data's metadata",
    ),
]
ForgetWhere = Annotated[
    list[str] | None,
    typer.Option("--forget-where", help="rows to forget: column=value of the data's metadata; repeatable"),
]
ForgetSubclass = Annotated[
    list[str] | None,
    typer.Option("--forget-subclass", help="COARSE:FINE, a part of a class, where the data has both; repeatable"),
]
ExcludeRows = Annotated[
    Path | None, typer.Option("--exclude-rows", help="rows to leave out: a file as for `forget --forget-rows`")
]
ExcludeWhere = Annotated[
    list[str] | None, typer.Option("--exclude-where", help="rows to leave out: column=value; repeatable")
]
ExcludeSubclass = Annotated[
    list[str] | None, typer.Option("--exclude-subclass", help="COARSE:FINE to leave out; repeatable")
]
NoDuplicates = Annotated[
    bool,
    typer.Option("--no-duplicates", help="do not look for duplicates of the rows in the retained part"),
]
Retrained = Annotated[
    list[Path] | None, typer.Option("--retrained", help="weights retrained without the classes; repeatable")
]
References = Annotated[
    str | None,
    typer.Option(
        "--references",
        help="reference bank whose models fit: a folder, or auto for its usual place (see `unlearnkit retrain`)",
    ),
]
BANK_HELP = "folder of the reference bank; default: UNLEARNKIT_BANK, else one in the user's cache"
Bank = Annotated[Path | None, typer.Option("--bank", help=BANK_HELP)]
Shadows = Annotated[
    list[Path] | None,
    typer.Option("--shadow", help="weights that this method unlearned from another original, for U-LiRA; repeatable"),
]
Already = Annotated[
    list[str] | None,
    typer.Option("--already-forgotten", help="class forgotten earlier (the weights record them too)"),
]
Head = Annotated[str | None, typer.Option("--head", help="name of the classifier layer; default: it is found")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE, for example repair.lr=0.001; repeatable")
]
Seed = Annotated[int, typer.Option("--seed", help="seed of every random draw")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace an earlier run folder")]
ImageSize = Annotated[int | None, typer.Option("--image-size", min=1, help="resize images to this height and width")]
CropPct = Annotated[
    float | None,
    typer.Option(
        "--crop-pct",
        help="share of the picture's shorter side that is kept around the centre; default: what belongs to the image "
        "size, and 1 beside a size of your own",
    ),
]
Interpolation = Annotated[
    Literal["bilinear", "bicubic", "nearest", "lanczos"] | None,
    typer.Option("--interpolation", help="how images are resized; default: as the model's own, else bilinear"),
]
Mean = Annotated[str | None, typer.Option("--mean", help="normalisation, one value or one per channel: 0.5,0.5,0.5")]
Std = Annotated[str | None, typer.Option("--std", help="normalisation, one value or one per channel: 0.25,0.25,0.25")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps; default: the best there is")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp64"],
    typer.Option("--precision", help="bf16: automatic mixed precision; auto: bf16 where the hardware gains from it"),
]
Channels = Annotated[
    str | None, typer.Option("--channels", help="1 (grey) or 3 (RGB); default: what the weights take, else 3")
]
Classes = Annotated[
    Path | None, typer.Option("--classes", help="file with the model's class names, one on each line, in its order")
]
ImageColumn = Annotated[
    str | None, typer.Option("--image-column", help="column of encoded images, for parquet: and hf:")
]
LabelColumn = Annotated[str | None, typer.Option("--label-column", help="column of labels, for parquet: and hf:")]
TrustInputs = Annotated[
    bool,
    typer.Option(
        "--trust-inputs",
        help="go on although the weights do not seem to belong to these classes or this preprocessing",
    ),
]
Storage = Annotated[
    Literal["auto", "memory", "stream"],
    typer.Option("--storage", help="keep decoded images in memory, or decode them anew; auto: by their size"),
]
Workers = Annotated[int | None, typer.Option("--workers", min=0, help="processes that decode streamed images")]
MicroBatch = Annotated[
    int | None,
    typer.Option("--micro-batch", min=1, help="images computed at once; default: whole batches while memory lasts"),
]
Compile = Annotated[bool, typer.Option("--compile", help="train through torch.compile")]
CountOperations = Annotated[
    bool,
    typer.Option("--count-operations", help="count floating-point operations too (a run takes up to twice as long)"),
]
Tracker = Annotated[
    Literal["tensorboard", "wandb", "mlflow"] | None,
    typer.Option("--track", help="record the losses in an experiment tracker (files go to tracking/ beside --out)"),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="exit with 4 where the model did not forget, and with 3 without a pass otherwise"),
]
Tolerance = Annotated[
    float,
    typer.Option(
        "--tolerance", help="retained validation accuracy that may be lost, as a fraction; --strict fails beyond it"
    ),
]
Quick = Annotated[
    bool, typer.Option("--quick", help="a look: 2,000 images, and no audit that trains (relearning, attacks)")
]
Full = Annotated[bool, typer.Option("--full", help="audit all images instead of about 10,000")]
AuditData = Annotated[
    str | None,
    typer.Option(
        "--audit-data",
        help="stand-ins for forgotten classes that --data no longer has: a data source whose classes have those names",
    ),
]
IncludeImages = Annotated[
    bool,
    typer.Option(
        "--include-images",
        help="write pictures of samples into the run folder and the report although the data may show people",
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="go on with an interrupted training (OUT.unfinished.safetensors), bit for bit"),
]
Ledger = Annotated[
    Path | None,
    typer.Option("--ledger", envvar="UNLEARNKIT_LEDGER", help="file of the ledger (`unlearnkit ledger`)"),
]
Language = Annotated[
    str | None,
    typer.Option("--language", help="of the report, as en or zh (Chinese); default: the one it had before, else en"),
]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON on standard output")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors (and --json)")]


def weights_of(weights: str | None, model: str | None) -> str:
    """The weights that are given, or those that a model of transformers brings along.

    Raises:
        ConfigError: neither is there.
    """
    if weights is not None:
        return weights
    if model is not None and model.startswith("transformers:"):
        return model
    raise ConfigError("Expected the weights of a trained model, but got none; give --weights FILE.")
