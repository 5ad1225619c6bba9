"""The operator: custom resources in; API keys, limits, topics, schemas and the registry out.

Level-triggered: it observes, plans and applies, from any state, and applying twice changes nothing.
Deleting with Retain never drops data.
"""
