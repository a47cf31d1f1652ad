"""Microsoft.Network: kept and checked, without packets."""
