"""argus_runtime."""
