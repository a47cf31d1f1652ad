"""The local Azure: servers on this machine that unchanged Azure clients take for the real ones.

toolchain, provider/, language/      the Pulumi engine and its plugins
cli, supervisor, daemon, health      one background process a folder: start it, stop it, ask how it is
faults, control, control_client      what is to go wrong on purpose, and how it is asked for
environment, certificates            what a client needs to find and trust the servers
azure                                the servers put together
arm/                                 resource manager: table of types, checks of bodies, operations, errors, state
services/                            what the types do: compute, network, storage, Batch, access, groups and templates
templates/                           the expressions of template deployments
batch_service/                       the Batch service's own interface: pools and nodes
permissions/                         which right each request needs, and who has it
machines, storage_server, azurite/   the processes behind an instance and a storage account
identity, tokens                     sign-in, Entra tokens and the instance metadata service
"""
