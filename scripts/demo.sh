#!/usr/bin/env bash
# The whole story on embedded defaults: a month of legacy traffic, the nightly run, a fortnight in shadow, a
# trial in which both rankings are shown, a promotion, a model that goes wrong, a suspicion, a rollback, a
# new model and its promotion. Nobody asks for any of it. Called by `make demo`.
#   BIN         where ltr-host and ltr-trainer are
#   DEMO_EXIT=1 end after the story, else keep serving until ctrl-c
#   DEMO_PORT   where the gateway listens (8080)
#   DEMO_TRUTH  interactions (LTR can win) or legacy (nothing can, so nothing may be promoted)
set -euo pipefail

BIN=${BIN:-target/release}
PORT=${DEMO_PORT:-8080}
TRUTH=${DEMO_TRUTH:-interactions}
URL=http://127.0.0.1:$PORT
REFUSED=3
mkdir -p var/demo
RUN=$(mktemp -d "var/demo/$(date -u +%Y%m%dT%H%M%SZ)-XXXX")

bold=''; plain=''
if [ -t 1 ]; then bold=$'\e[1m'; plain=$'\e[0m'; fi
stage() { printf '\n%s== %s%s  (%s s)\n' "$bold" "$*" "$plain" "$SECONDS"; }
fail() { printf 'demo: %s; the gateway log is %s\n' "$*" "$RUN/gateway.log" >&2; exit 1; }

gateway=''
stop() { [ -z "$gateway" ] || { kill "$gateway" 2>/dev/null || true; wait "$gateway" 2>/dev/null || true; }; }
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Without curl: a /readyz that answers 200 says so in the first line.
ready() {
  (exec 3<>"/dev/tcp/127.0.0.1/$PORT" && printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3 && head -n 1 <&3 | grep -q ' 200') 2>/dev/null
}

export LTR_HOST__LISTEN=127.0.0.1:$PORT LTR_HOST__CLOCK=header
{ read -r LTR_CLIENT__TOKEN; read -r ENTRY; } < <("$BIN/ltr-host" token demo --role ingest --role rank --role admin)
export LTR_CLIENT__TOKEN LTR_ACCESS__TOKENS="[$ENTRY]"
(umask 077; printf 'export LTR_CLIENT__TOKEN=%q\n' "$LTR_CLIENT__TOKEN" >"$RUN/client.env")
export LTR_DATABASE__URL=sqlite://$RUN/ltr.db LTR_DATABASE__SPOOL_DIR=$RUN/spool LTR_MODELS__DIR=$RUN/models LTR_LAKE__DIR=$RUN/lake
export LTR_MODELS__CODE_CACHE_DIR=$RUN/code
export LTR_MODELS__TRUSTED_KEYS=$RUN/keys/trusted LTR_PUBLISH__SIGNING_KEY=$RUN/keys/publish.key
export LTR_PRIVACY__SALT_FILE=$RUN/keys/privacy.salt LTR_PUBLISH__NOTIFY_URL="$URL/models/notify?wait=1"

simulate() { "$BIN/ltr-trainer" simulate --url "$URL" --truth "$TRUTH" "$@"; }
rollout() { "$BIN/ltr-host" rollout "$@" --url "$URL"; }

stage "The gateway starts, with no model: $URL"
if (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then fail "port $PORT is taken; choose another with DEMO_PORT"; fi
"$BIN/ltr-trainer" keygen
"$BIN/ltr-host" serve >"$RUN/gateway.log" 2>&1 &
gateway=$!
for _ in $(seq 100); do
  ready && break
  kill -0 "$gateway" 2>/dev/null || fail "the gateway did not start"
  sleep 0.1
done
ready || fail "the gateway was not ready within 10 s"

stage "September: a month of legacy traffic"
simulate --from 2026-09-01T00:00:00Z --days 30 --cases-per-day 300

stage "The nightly run of 1 October: etl, train, evaluate, gate, publish"
trained=0
"$BIN/ltr-trainer" train-daily --as-of 2026-10-01T02:15:00Z || trained=$?
if [ "$TRUTH" = legacy ]; then
  [ "$trained" -eq "$REFUSED" ] || fail "the gate should have refused with exit code $REFUSED, but the run ended with $trained"
  if rollout promote --as-of 2026-10-01T02:15:00Z; then fail "a promotion went through with nothing published"; fi
  [ -z "$(ls -A "$RUN/models/ltr" 2>/dev/null)" ] || fail "a model was published although the gate refused it"
  printf '\ndemo: ok (nothing promoted)\n'
  exit 0
fi
[ "$trained" -eq 0 ] || fail "the nightly run ended with exit code $trained"

# From here on clients look at rank k with the probability 1/k: who was displayed looks better than who was not.
look() { simulate --examination 1 "$@"; }
etl() { "$BIN/ltr-trainer" etl --as-of "$1T02:15:00Z"; }
# The days until it is known who signed with whom.
wait_for_labels() { look --from "$1T00:00:00Z" --days "$2" --cases-per-day 100 >/dev/null; }
# Whether the controller has come to this phase by itself.
becomes() { rollout watch --until "$1" --timeout 5 --as-of "$2" >/dev/null || fail "$3"; }

# The evidence spans the first case to the last, so fourteen whole days take a fifteenth.
stage "October: a fortnight in shadow, a tenth of the requests"
look --from 2026-10-01T00:00:00Z --days 15 --cases-per-day 600

stage "23 October: the last attribution window has closed; the labels are filled in"
wait_for_labels 2026-10-16 7
etl 2026-10-23

stage "The shadow cannot tell, because legacy was displayed: half of the users see both rankings, drafted in turn"
look --from 2026-10-23T00:00:00Z --days 8 --cases-per-day 300
rollout status --as-of 2026-10-31T00:00:00Z
becomes trial 2026-10-31T00:00:00Z "the model was not put on trial"

stage "8 November: it is known who signed with whom; the trial promotes, and 5 % of the users are held out"
wait_for_labels 2026-10-31 8
etl 2026-11-08
look --from 2026-11-08T00:00:00Z --days 15 --cases-per-day 300
becomes live 2026-11-23T00:00:00Z "the trial did not promote the model"

stage "23 November, a drill: the model turns its order around"
rollout drill 0 --reversed
look --from 2026-11-23T00:00:00Z --days 3 --cases-per-day 300
wait_for_labels 2026-11-26 8
etl 2026-12-04
look --from 2026-12-04T00:00:00Z --days 4 --cases-per-day 300
rollout status --as-of 2026-12-08T00:00:00Z
becomes suspected 2026-12-08T00:00:00Z "nobody suspected the model"

stage "16 December: both rankings were shown again, and the clients preferred legacy's; the controller rolls back"
wait_for_labels 2026-12-08 8
etl 2026-12-16
look --from 2026-12-16T00:00:00Z --days 1 --cases-per-day 300
becomes rolled_back 2026-12-16T23:00:00Z "the model was not rolled back"
rollout drill 0

stage "17 December: a new model is trained on all that was logged"
"$BIN/ltr-trainer" train-daily --as-of 2026-12-17T02:15:00Z || fail "no new model was published"
look --from 2026-12-18T00:00:00Z --days 15 --cases-per-day 600
wait_for_labels 2027-01-02 8
etl 2027-01-10
look --from 2027-01-10T00:00:00Z --days 8 --cases-per-day 300
wait_for_labels 2027-01-18 8
etl 2027-01-26
look --from 2027-01-26T00:00:00Z --days 1 --cases-per-day 300
becomes live 2027-01-27T00:00:00Z "the new model was not promoted"
rollout status --as-of 2027-01-27T00:00:00Z
"$BIN/ltr-host" ledger verify

stage "Where to look next"
cat <<TEXT
  $URL/models, $URL/metrics
  . $RUN/client.env; $BIN/ltr-host rollout status --url $URL --as-of 2027-01-27T00:00:00Z
  $RUN/models/ltr     the signed artefact
  $RUN/ltr.db         events and shadow log
  $RUN/gateway.log    what the gateway said
TEXT
if [ "${DEMO_EXIT:-}" = 1 ]; then
  printf '\ndemo: ok\n'
  exit 0
fi
printf '\ndemo: ok; serving on %s until ctrl-c\n' "$URL"
wait "$gateway"
