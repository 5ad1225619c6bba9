"""Kafka in; TimescaleDB, Redis and dead letters out.

A record's way is `consume → decode → (reject | event) → batch → store → count`, one module each.
SQL's offset is the only truth about what was read: whatever this process forgets, it reads again.
"""
