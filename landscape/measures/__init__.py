"""Measures of one classifier on a batch of inputs; `mapping` and the `ensemble_...` functions map them over members.

    measure(keys, variables, x, label, *, apply, ...) -> values [N], or a dict of them

keys: [N] PRNG keys, one an example: what is found for an example does not depend on the others of its batch.
variables: one classifier. x: inputs, pixels in [0, 1]. label: tracked class, as a rule the classifier's own prediction
at x. apply: (variables, x) -> logits. Docstrings of measures say what there is beside these.
"""
