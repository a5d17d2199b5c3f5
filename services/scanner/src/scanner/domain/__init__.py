"""The scanner's rules: findings and their identity, evidence and its proof. Pure; nothing here can fail because a network did."""
