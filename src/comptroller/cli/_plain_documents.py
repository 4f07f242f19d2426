"""Documents whose keys are the fields of a class: what each is, a file that is one, and the class that reads it."""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.facts.serving import ServingFacts
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.reasons.current_fleet import CurrentFleetFile
from comptroller.training.document import TrainingWorkload
from comptroller.training.lifetime_document import LifetimeWorkload
from comptroller.training.plan_document import TrainingPlan
from comptroller.training.run_register import RunRegister

PLAIN_DOCUMENTS: Mapping[str, tuple[str, str, type]] = {
    "fleet": ("What runs today: `comptroller plan ... --against FILE`.", "examples/current.toml", CurrentFleetFile),
    "plan": ("What was chosen, what it costs and why: `comptroller plan ... --out FILE`.", "", Plan),
    "calibration": (
        "Fitted constants: `serving.toml` of a folder that `comptroller fit calibration --out` wrote.",
        "",
        ServingFacts,
    ),
    "training": ("A training run to plan: `comptroller plan FILE`.", "examples/training.toml", TrainingWorkload),
    "lifetime": (
        "A model's whole life, training and answers: `comptroller plan FILE`.",
        "examples/lifetime.toml",
        LifetimeWorkload,
    ),
    "register": (
        "Training runs whose compute is counted: `comptroller show register FILE`.",
        "examples/register.toml",
        RunRegister,
    ),
    "training_plan": (
        "How a run is trained, what it takes and why: `comptroller plan TRAINING --out FILE`.",
        "",
        TrainingPlan,
    ),
}
"""Kind of document -> what it is, its example, its class."""
