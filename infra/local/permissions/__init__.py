"""Who may do what: the actions that requests need, the rules that give them, and a record of both."""
