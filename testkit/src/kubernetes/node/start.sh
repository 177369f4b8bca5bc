# Starts containerd and the kubelet: start.sh FOLDER KUBELET
#
# It is the first process of a process and a mount namespace of its own, so that with it every shim and container ends
# and every mount goes. What both write besides their folders is written where nobody sees it.
folder=$1
kubelet=$2
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for elsewhere in /run /var/lib /var/log; do
    mount -t tmpfs tmpfs "$elsewhere" || exit
done
# Groups of processes outlive their processes; those of an earlier node are empty.
find /sys/fs/cgroup -depth -type d -path '*/weightseal-node/*' -exec rmdir {} + 2>/dev/null
containerd --config "$folder/containerd.toml" >"$folder/log/containerd.log" 2>&1 &
containerd=$!
until ctr --address "$folder/containerd.sock" version >/dev/null 2>&1; do
    kill -0 "$containerd" || { tail -n 4 "$folder/log/containerd.log"; exit 1; }
    sleep 0.1
done
ctr --address "$folder/containerd.sock" --namespace k8s.io images import --digests \
    --base-name "$(cat "$folder/pause.name")" "$folder/pause.tar" || exit
"$kubelet" --config="$folder/kubelet.json" --kubeconfig="$folder/node.kubeconfig" --root-dir="$folder/kubelet" \
    --cert-dir="$folder/certs" --hostname-override=localhost &
wait "$!"
