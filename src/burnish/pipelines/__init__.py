"""One readable file for each thing a person wants to do. Each composes the rooms below; none holds mathematics of its own."""
