"""Holds the unlearning methods, the harness that runs them, and the registry of their names."""

from __future__ import annotations

from unlearnkit.methods.bad_teacher import BadTeacher
from unlearnkit.methods.boundary_shrink import BoundaryShrink
from unlearnkit.methods.cards import describe_methods, method_cards
from unlearnkit.methods.delete import DELETE
from unlearnkit.methods.erase.erase import Erase
from unlearnkit.methods.finetune import FineTune
from unlearnkit.methods.fisher import FisherForgetting
from unlearnkit.methods.harness import Unlearned, unlearn
from unlearnkit.methods.head_mask import HeadMask, masked
from unlearnkit.methods.l1_sparse import L1Sparse
from unlearnkit.methods.method import ConfiguredMethod, Context, Method
from unlearnkit.methods.neggrad import NegGrad
from unlearnkit.methods.neggrad_plus import NegGradPlus
from unlearnkit.methods.original import Original
from unlearnkit.methods.random_label import RandomLabel
from unlearnkit.methods.registry import METHODS, make_method
from unlearnkit.methods.retrain import Retrain
from unlearnkit.methods.salun import SalUn
from unlearnkit.methods.scrub import SCRUB
from unlearnkit.methods.ssd import SSD
from unlearnkit.methods.unsir.unsir import UNSIR

__all__ = [
    "DELETE",
    "METHODS",
    "SCRUB",
    "SSD",
    "UNSIR",
    "BadTeacher",
    "BoundaryShrink",
    "ConfiguredMethod",
    "Context",
    "Erase",
    "FineTune",
    "FisherForgetting",
    "HeadMask",
    "L1Sparse",
    "Method",
    "NegGrad",
    "NegGradPlus",
    "Original",
    "RandomLabel",
    "Retrain",
    "SalUn",
    "Unlearned",
    "describe_methods",
    "make_method",
    "masked",
    "method_cards",
    "unlearn",
]
