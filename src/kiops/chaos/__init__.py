"""KIOPS under blows, judged from outside: a platform of its own whose parts are killed with -9 while pushes arrive.

Seven processes, a nats-server and a PostgreSQL in a temporary folder (`city`), a Git host that sends until it is acknowledged
(`sender`), tools outside that write down what they did (`stand_ins`), kills (`blows`), and a judge who believes only the sender and
that file (`judge`).
"""
