"""What every ARGUS process shares of I/O: lifecycle, ops port, logging, clients, registry tail."""
