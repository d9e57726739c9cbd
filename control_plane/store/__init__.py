"""Durable state of the control plane: in memory for tests, in SQLite or PostgreSQL for service."""
