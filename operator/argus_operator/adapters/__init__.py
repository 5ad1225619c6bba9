"""Clients of what the operator works on. Only this package imports client libraries."""
