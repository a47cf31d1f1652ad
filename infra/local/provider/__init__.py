"""The stand-in `azure-native` provider: inputs become requests to the resource manager, answers become outputs."""
