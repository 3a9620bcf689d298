"""Processors: this database and the third parties of clause 5, behind one protocol (core.processors.protocol)."""

from core.models.labels import Processor as Named
from core.processors import cloudinary
from core.processors.registry import concerned, register

__all__ = ["concerned", "register"]

register(Named.CLOUDINARY, cloudinary.made)
