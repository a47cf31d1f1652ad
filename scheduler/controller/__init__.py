"""The controller: steps that read ports, ask the pure decisions, and apply what they say."""
