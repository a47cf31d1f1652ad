"""Microsoft.Storage: accounts and what is declared in them; the data is Azurite's."""
