"""What `hardware=…` means: which device, how many processes, who started them."""
