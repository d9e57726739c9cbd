"""What clients of other systems say, put into the words that engines know, and the answers put back."""
