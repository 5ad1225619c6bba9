"""The console `argus`: sends events, shows the ledger, audits it, demonstrates the whole."""
