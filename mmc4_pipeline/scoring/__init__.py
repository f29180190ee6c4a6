"""What all scorers share: what one must provide, the shard that it is given, and the files and folders of scores."""
