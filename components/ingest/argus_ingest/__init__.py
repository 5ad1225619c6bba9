"""argus_ingest."""
