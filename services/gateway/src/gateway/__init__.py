"""The service that people meet: sign-in, the service catalogue, sealed credentials, audit, the JSON API and the pages.

It owns who may see and do what, and a read model of everything, rebuilt from facts. It refuses to decide anything about
runs, builds, scans, verdicts and deploys: it shows what the facts say and passes on what people order.
"""

__version__ = "0.1.0"
