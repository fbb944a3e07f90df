"""The nouns of the house: domains, disks, volumes, jobs, plans, runs, recovery points."""
