"""The rewriting of circuits into canonical forms, behind one function."""

from tasks.execution.cache.semantic.canonical import ANGLE_GRID, NORMAL_FORM_VERSION, CanonicalForm
from tasks.execution.cache.semantic.meaning import Mark, OpenInput, canonical_form

__all__ = ["ANGLE_GRID", "NORMAL_FORM_VERSION", "CanonicalForm", "Mark", "OpenInput", "canonical_form"]
