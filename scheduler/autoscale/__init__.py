"""How many nodes, and which: one pure function, `decide.decide`, from frozen data to a plan of actions with reasons."""
