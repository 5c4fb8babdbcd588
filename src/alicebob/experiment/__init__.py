"""The experiment's own affairs: parameters, the tree of rounds, the plan, work folders, tables.

MLflow (`alicebob.tracking`) reads this room and is read by nobody in it.
"""
