"""Microsoft.Batch: accounts, applications, and pools whose nodes are machines."""
