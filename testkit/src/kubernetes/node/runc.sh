#!/bin/sh
# Runs runc after taking out of the container's configuration what needs CAP_SYS_RESOURCE, which machines for tests lack:
# limits above its own, and a lower chance of being killed for lack of memory. Its group of processes is put where the
# next node finds it.
bundle=
before=
for word in "$@"; do
    case $before in --bundle | -b) bundle=$word ;; esac
    case $word in --bundle=*) bundle=${word#--bundle=} ;; esac
    before=$word
done
if [ -n "$bundle" ]; then
    jq 'del(.process.rlimits, .process.oomScoreAdj) |
        .linux.cgroupsPath |= "/weightseal-node/" + (split("/") | last)' "$bundle/config.json" >"$bundle/less.json" &&
        mv "$bundle/less.json" "$bundle/config.json" || exit
fi
exec runc "$@"
