"""Migrations, applied in order of their numbers whenever a database is opened."""
