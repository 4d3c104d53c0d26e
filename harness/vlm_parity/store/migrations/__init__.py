"""Migrations of the store's schema, in the layout of Alembic."""
