"""What crosses the MQTT wire, and the plant model both ends read. Takes text and bytes; does no I/O.

`topics` the grammar of topics · `envelope` what gateways send · `event` what happened in the plant ·
`receipt` what ingest answers · `rejection` why data is refused · `plant` and `units` the plant model.
"""
