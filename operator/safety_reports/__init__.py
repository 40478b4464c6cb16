"""The report server: gives the reports of one namespace to whoever may forward a port to its pod.

It reads one mounted claim and nothing else: no API token, no other namespace, only reports, no listing.
"""
