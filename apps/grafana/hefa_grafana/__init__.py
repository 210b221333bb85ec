"""Grafana dashboards as code: boards, alert rules and the data source, made from the plant model.

A tool for whoever builds or runs a site; nothing of the platform needs it. It knows the contract's plant model and the
names of the database's stable views, no more.
"""
