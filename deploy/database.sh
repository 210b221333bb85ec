# Goes before the database image's own start script, as root: what `postgres`, whom that script turns into, may not do.
set -e
chown postgres /run/postgresql # a tmpfs, made by root
POSTGRES_PASSWORD="$(cat /run/hefa/postgres_password)" # a file that only its owner and root read
export POSTGRES_PASSWORD
exec docker-entrypoint.sh "$@"
