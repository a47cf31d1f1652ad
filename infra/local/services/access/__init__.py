"""Microsoft.Authorization and Microsoft.ManagedIdentity: identities, roles and who has them."""
