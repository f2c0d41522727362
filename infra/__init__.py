"""What surrounds the functions: the command line, the emulator, stand-ins, and the infrastructure's files."""
