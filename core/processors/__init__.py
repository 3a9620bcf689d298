"""Processors: this database and the third parties of clause 5, behind one protocol (core.processors.protocol).

Each third party is made from the settings when somebody asks for it; a large library is loaded then.
"""

from core.models.labels import Processor as Named
from core.processors import cloudinary, payments, smtp
from core.processors.protocol import Processor
from core.processors.registry import concerned, register
from core.settings import settings

__all__ = ["concerned", "register"]


def _mongodb() -> Processor | None:
    if settings().mongodb_uri is None:
        return None
    from core.processors.mongodb import MongoDB

    return MongoDB()


register(Named.CLOUDINARY, cloudinary.made)
register(Named.MONGODB, _mongodb)
register(Named.PAYMENTS, payments.made)
register(Named.SMTP, smtp.made)
