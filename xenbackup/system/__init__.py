"""The operating system: commands, block devices, durable files, logs."""
