"""The only modules of the edge that know Kafka's and Redis's client libraries."""
