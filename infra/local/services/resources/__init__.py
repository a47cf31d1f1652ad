"""Microsoft.Resources: groups, template deployments and tags."""
