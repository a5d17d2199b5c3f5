"""What the seven services have in common: contracts (`facts`, `orders`, `queries`, `words`) and the chassis."""
