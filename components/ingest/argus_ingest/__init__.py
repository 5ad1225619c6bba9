"""The edge: HTTP in, Kafka out.

A request's way is one module a step, in this order: `flood` → `authenticate` → `read` → `decode` →
`limit` → `route` → `publish` → `answer`; `endpoint` walks it. The steps know no client library:
Kafka and Redis are behind `adapters`.
"""
