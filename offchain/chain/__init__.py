"""Everything that talks to the chain: contract clients, transactions, events, a local node."""
