"""What revisions are written with: steps that never make the bot wait, operations, and the drift check."""
