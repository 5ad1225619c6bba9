"""argus_stream."""
