"""Events to state: the Faust app that folds every customer's events and keeps the result in Redis, each event once."""
