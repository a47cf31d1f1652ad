"""What the resource types of the local Azure do; one module a provider."""
