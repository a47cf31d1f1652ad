"""What the scheduler needs of the world: small protocols with their failures, a noun a file. Adapters implement them.

Every method may raise `UnavailableError` (unknown, try again) and `AccessDeniedError`, besides what it says itself.
"""
