"""What `pulumi up` deploys, and the `millpond` command.

__main__, program    the Pulumi program: settings in, components, outputs
config               a stack's settings, parsed once into frozen types; every finding at once
naming, catalog      Azure's name rules; images and their end-of-life dates
generations          which changes make new machines
components/          one Azure noun a file
publish              what the program puts into storage: the node bundles and the scheduler's settings
deploy, cli          `millpond up, preview, destroy`, and the entry point
local/               the local Azure; the program knows nothing of it
"""
