# Run by the database image before it fills a new data folder. A new database in a folder that is no volume would be
# lost with the container, and so would everything written to it: better not to start.
if ! grep -q " $PGDATA " /proc/mounts; then
  echo "No volume is mounted at $PGDATA: the data would be lost with the container. Mount the volume there." >&2
  exit 1
fi
