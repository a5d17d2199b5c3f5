"""The read model made anew from the first fact, beside the one that serves, and put in its place while everything goes on."""
