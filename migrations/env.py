"""Alembic's environment: always a live connection of the owner, handed over by core.db."""

from alembic import context

from core.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    include_schemas=True,
    version_table_schema="platform",
)
with context.begin_transaction():
    context.run_migrations()
