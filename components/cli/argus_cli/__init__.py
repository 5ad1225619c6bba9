"""argus_cli."""
