"""argus_contract."""
