"""Components: one Azure noun a file. Each takes frozen `<Thing>Args`, owns its children and names its outputs."""
