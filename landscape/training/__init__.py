"""Training of members: one member's step, the loop over epochs, and trained members as artefacts that runs share."""
