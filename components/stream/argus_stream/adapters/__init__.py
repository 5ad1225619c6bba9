"""Kafka, TimescaleDB and Redis, behind the interfaces of `argus_stream.ports`."""
