# Steps of a run. Each is timed; the table of all steps is printed when the run ends, also after a failure.
# Bash ignores `set -e` inside a function passed to these: join its commands with &&.

logs=.ci/logs
names=() seconds=() results=()
declare -A background=()

# step NAME COMMAND...: run a command.
step() {
  local name=$1 begin=$SECONDS result=0
  shift
  printf '\n== %s\n' "$name"
  "$@" || result=$?
  record "$name" $((SECONDS - begin)) "$result"
}

# start NAME COMMAND...: run a command beside the next steps. `finish NAME` prints its output.
start() {
  local name=$1
  shift
  mkdir -p "$logs"
  # Job control gives the command a process group, by which it is stopped if the run ends early.
  set -m
  (
    begin=$SECONDS result=0
    "$@" || result=$?
    echo $((SECONDS - begin)) >"$logs/$name.seconds"
    exit "$result"
  ) </dev/null >"$logs/$name.log" 2>&1 &
  set +m
  background[$name]=$!
}

# finish NAME: wait for a command passed to `start`, print its output and fail if it failed.
finish() {
  local name=$1 result=0
  wait "${background[$name]}" || result=$?
  unset "background[$name]"
  printf '\n== %s (beside other steps)\n' "$name"
  cat "$logs/$name.log"
  record "$name" "$(cat "$logs/$name.seconds" 2>/dev/null || echo 0)" "$result"
}

# omit NAME REASON: leave a step out; the table of steps shows the reason.
omit() {
  printf '\n== %s: LEFT OUT: %s\n' "$1" "$2"
  names+=("$1: $2") seconds+=("-") results+=("omitted")
}

record() {
  names+=("$1") seconds+=("$2") results+=("$3")
  if (($3)); then exit "$3"; fi
}

end_run() {
  local result=$? name
  trap - EXIT
  for name in "${!background[@]}"; do
    kill -- "-${background[$name]}" 2>/dev/null || true
    wait "${background[$name]}" 2>/dev/null || true
    printf '\n== %s (stopped)\n' "$name"
    cat "$logs/$name.log"
    names+=("$name") seconds+=("-") results+=("stopped")
  done
  print_steps
  exit "$result"
}

print_steps() {
  local index outcome
  printf '\n%8s  %-10s %s\n' seconds result step
  for index in "${!names[@]}"; do
    case ${results[index]} in
      0) outcome=passed ;;
      stopped) outcome=stopped ;;
      omitted) outcome='LEFT OUT' ;;
      *) outcome="exit ${results[index]}" ;;
    esac
    printf '%8s  %-10s %s\n' "${seconds[index]}" "$outcome" "${names[index]}"
  done
  printf '%8s  %-10s %s\n' "$SECONDS" '' 'in all (steps beside others overlap)'
}

trap end_run EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
