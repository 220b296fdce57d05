"""The domain of Ebb: what a customer did, what is remembered of it, and what it says about churn.

Every part imports this package; it imports no part.
"""
