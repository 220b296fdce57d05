"""`python -m tests.chaos.mutated_worker`: a stream processor that lacks one of its safeguards.

The suite is worth something only if it notices; `MUTATION` in the environment names what is taken away:

unguarded    offsets are written beside the states, but compared neither when folding nor when writing
late_writes  a state is written over a newer one too
acked_first  a batch is acknowledged when it is folded, before Redis has it
stock_take   Faust's own `take_events` in place of the batch driver and the acknowledgements by hand
"""

MUTATION = "MUTATION"
