"""The seven rooms in order: intake, critic, gate, handoff, evals, outcome, learning. They never import each other."""
