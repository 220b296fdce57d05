"""Where events come from: simulated customers, or the rows of a real file, onto topic `events` or into a history."""
