# Goes before the database, once per start, in its image: does this volume belong to this image and to these secrets?
# Where it does not, starting would crash in a loop, or put an empty database in the place of the lost one.
set -eu

stop() { printf '%s\n' "$@" >&2; exit 1; }

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # `migrate` leaves this mark beside the secrets.
  [ ! -e "${MARK:-/run/mark}/database_made" ] || stop \
    "The secrets belong to a database that is not in $PGDATA: is the right volume mounted there?" \
    "To begin again with an empty one: docker compose down --volumes"
  echo "an empty volume: the database will be made"
  exit 0
fi

volume=$(cat "$PGDATA/PG_VERSION")
image=$(postgres --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
[ "$volume" = "$image" ] || stop \
  "The volume holds PostgreSQL $volume, the image is PostgreSQL $image: HEFA_TIMESCALEDB_IMAGE must stay at $volume." \
  "To move: back up with the old image, docker compose down --volumes, start with the new one, restore (docs/operations.md)."

library=$(pg_config --pkglibdir 2>/dev/null || true)
if [ -n "$library" ] && grep -q '^shared_preload_libraries.*timescaledb' "$PGDATA/postgresql.conf" \
  && [ ! -e "$library/timescaledb.so" ]; then
  stop "The volume was made by TimescaleDB, which this image does not have: set HEFA_TIMESCALEDB_IMAGE to one that has it."
fi
echo "the volume fits: PostgreSQL $volume"
