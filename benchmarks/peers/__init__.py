"""The gateways that ours is measured beside: where each comes from, how it is started, what it wants in a request."""
