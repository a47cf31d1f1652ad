"""The data plane of Azure Batch: the service behind an account's endpoint, for pools and their nodes."""
