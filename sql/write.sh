#!/bin/sh
# Writes the released scripts anew, into this folder or into the one that is named.
set -eu
folder=$(cd "${1:-$(dirname "$0")}" && pwd)
cd "$(dirname "$0")/.."
alembic upgrade head --sql > "$folder/upgrade.sql"
alembic downgrade head:000 --sql > "$folder/rollback.sql"
alembic -x single-transaction=yes upgrade head --sql > "$folder/upgrade_dashboard.sql"
alembic -x single-transaction=yes downgrade head:000 --sql > "$folder/rollback_dashboard.sql"
