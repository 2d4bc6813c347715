"""One shared table that every process writes its row of and anybody can read."""
