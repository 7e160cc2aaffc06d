"""Parts of `time`: what is run, how it is measured, how it is told."""
