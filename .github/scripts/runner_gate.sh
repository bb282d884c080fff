#!/usr/bin/env bash
# Which jobs a runner of one's own takes. Copy this file to a place on that machine where jobs cannot write, and name
# the copy in ACTIONS_RUNNER_HOOK_JOB_STARTED (docs/ci.md). The runner starts it before each job, without the
# environment that a workflow sets, and does not run the job if it fails.
#
# A pull request may change a workflow, its `if:` and its `environment:`. It cannot change this copy, nor the event.
set -euo pipefail

LABEL=gpu

allowed() {
  case "$GITHUB_EVENT_NAME" in
    schedule | workflow_dispatch) return 0 ;; # only who may write to the repository starts these
    pull_request)
      python3 -I -c '
import json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    event = json.load(file)
sys.exit(event.get("action") != "labeled" or event.get("label", {}).get("name") != sys.argv[2])
' "$GITHUB_EVENT_PATH" "$LABEL"
      ;;
    *) return 1 ;;
  esac
}

if ! allowed; then
  echo "This runner takes a pull request's job only where the label $LABEL was just put on it." >&2
  exit 1
fi
