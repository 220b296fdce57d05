#!/bin/sh
# Starts Redis with the users of redis-users.acl: `sh redis.sh FILE redis-server ...` writes them to FILE, the passwords
# taken from the environment. The shell itself puts them in, so that none is ever an argument of a process.
set -eu
users=$1
shift
umask 077
eval "cat > \"\$users\" <<END
$(cat "$(dirname "$0")/redis-users.acl")
END"
unset REDIS_ADMIN_PASSWORD REDIS_STREAM_PROCESSOR_PASSWORD REDIS_SCORER_PASSWORD REDIS_SUCCESS_PASSWORD
exec "$@" --aclfile "$users"
