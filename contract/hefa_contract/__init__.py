"""What crosses the MQTT wire, and the plant model both ends read. Takes text and bytes; does no I/O."""
