# Goes before the database image's own start script, as root: what `postgres`, whom that script turns into, may not do.
set -e

# `migrate` leaves this mark beside the secrets. An empty volume then means that the data is lost or that another
# volume is mounted: starting would put an empty database in its place, and nobody would notice for a while.
if [ -e /run/hefa/database_made ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  echo "The secrets belong to a database that is not in $PGDATA: is the right volume mounted there?" >&2
  echo "To begin again with an empty one: docker compose down --volumes" >&2
  exit 1
fi

chown postgres /run/postgresql # a tmpfs, made by root
POSTGRES_PASSWORD="$(cat /run/hefa/postgres_password)" # a file that only its owner and root read
export POSTGRES_PASSWORD
exec docker-entrypoint.sh "$@"
