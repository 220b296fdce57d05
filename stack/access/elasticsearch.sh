#!/bin/bash
# Makes the users of an Elasticsearch node in its files, so that they are there before the node answers, and starts it:
# `bash elasticsearch.sh COMMAND...`. Passwords come from the environment and go to standard input, never to arguments.
set -euo pipefail
users=${ES_PATH_CONF:-/usr/share/elasticsearch/config}/users
touch "$users" "${users}_roles" # the command below wants to find them
export CLI_JAVA_OPTS="-Xms32m -Xmx96m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"

user() { # NAME ROLE VARIABLE
  # A container that is started again has its users.
  if ! grep -qs "^$1:" "$users"; then
    local said # its prompts; shown only where it fails
    said=$(printf '%s\n%s\n' "${!3}" "${!3}" | elasticsearch-users useradd "$1" -r "$2" 2>&1) || { echo "$said" >&2; exit 78; }
  fi
  unset "$3"
}

user admin superuser ELASTICSEARCH_ADMIN_PASSWORD
user es_ingest ebb_ingest ELASTICSEARCH_INGEST_PASSWORD
user analytics ebb_analytics ELASTICSEARCH_ANALYTICS_PASSWORD
user boards ebb_boards ELASTICSEARCH_BOARDS_PASSWORD
user reader ebb_reader ELASTICSEARCH_READER_PASSWORD
user ebb-kibana kibana_system KIBANA_PASSWORD
unset CLI_JAVA_OPTS
exec "$@"
