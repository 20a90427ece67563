"""Everything that touches the chain: clients, transactions, events, a local node."""
