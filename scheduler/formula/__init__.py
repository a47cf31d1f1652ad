"""Azure Batch autoscale formulas without Azure: read, check, evaluate, lint, and compile from a scaling policy.

`parse.parse` reads a text, `evaluate.evaluate` runs it against samples, `lint.lint` finds known mistakes,
`compiler.compile_policy` writes one. All of it is pure; what the service leaves open is a setting of `dialect.Dialect`.
"""
