"""argus_operator."""
