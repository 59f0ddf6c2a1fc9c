"""Commands that the workflow never imports."""
