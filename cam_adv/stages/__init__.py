"""What `stage` can ask for beyond trained models: a question in each file, and how its answer is found and told."""
