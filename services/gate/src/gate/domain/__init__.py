"""The gate's rules that are not policy: what the policy is told, what counts as its answer, when it may be asked."""
