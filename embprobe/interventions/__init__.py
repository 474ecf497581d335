"""Interventions change one attribute of an image and leave the rest; their controls leave the attribute alone."""

from __future__ import annotations

from embprobe.interventions.apply import check_strength, intervene, plan_of
from embprobe.interventions.base import Edit, Intervention
from embprobe.interventions.registry import INTERVENTIONS, attributes, find_intervention, list_interventions

__all__ = [
    "INTERVENTIONS",
    "Edit",
    "Intervention",
    "attributes",
    "check_strength",
    "find_intervention",
    "intervene",
    "list_interventions",
    "plan_of",
]
