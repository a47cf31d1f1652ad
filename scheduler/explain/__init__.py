"""Why jobs, tasks, nodes and pools are as they are: frozen facts in, one honest paragraph out."""
