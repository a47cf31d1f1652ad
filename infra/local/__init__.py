"""The local Azure: servers on this machine that unchanged Azure clients take for the real ones.

toolchain, provider, language_host   the Pulumi engine and its plugins
supervisor, daemon, cli              one background process a folder: start it, stop it, ask about it
environment, certificates            what a client needs to find and trust the servers
arm/                                 resource manager: table of types, operations, errors, state
services/                            what the resource types do: scale sets, storage, network, ...
machines, storage_server             the processes behind an instance and a storage account
identity, tokens                     Entra tokens and the instance metadata service
"""
