"""Microsoft.Compute: scale sets, virtual machines, disks, sizes and images."""
