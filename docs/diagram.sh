#!/bin/sh
# The diagram of docs/schema.md, drawn by paracelsus from the models. It takes a column of a composite key for a whole key.
set -eu
paracelsus graph | sed -e 's/||--o|/||--o{/' -e '/}o--o{/d'
