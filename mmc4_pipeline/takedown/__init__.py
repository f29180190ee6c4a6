"""Takes images and pages out of what is finished: only the files that hold them are written anew."""
