"""Networks trained under equal conditions, over seeds, and measured in the form in which they would serve."""
