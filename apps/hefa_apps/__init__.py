"""Tier 3: what people open in the morning. Knows the platform by HTTP only, like any customer's app."""
