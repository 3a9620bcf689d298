"""Processors: this database and the third parties of clause 5, behind one protocol (core.processors.protocol)."""

from core.processors.registry import concerned, register

__all__ = ["concerned", "register"]
