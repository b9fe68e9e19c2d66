"""The command line, one file a command: its options, what it does, what it prints. `main` finds the command."""
