// Command trillian-mem is a whole Trillian log in one process whose trees live in memory: the log's server, the server
// that makes trees, and the sequencer that puts queued leaves into them. Rekor v1 needs one below it, and the real one
// wants a database.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/extension"
	"github.com/google/trillian/log"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/server"
	"github.com/google/trillian/server/admin"
	"github.com/google/trillian/server/interceptor"
	"github.com/google/trillian/storage/memory"
	"github.com/google/trillian/util/clock"
	"google.golang.org/grpc"
)

var (
	address  = flag.String("listen", "", "address and port to serve gRPC on")
	interval = flag.Duration("interval", 50*time.Millisecond, "how often queued leaves are put into the tree")
)

func main() {
	flag.Parse()
	if err := serve(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "trillian-mem:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context) error {
	trees := memory.NewTreeStorage()
	registry := extension.Registry{
		AdminStorage: memory.NewAdminStorage(trees),
		LogStorage:   memory.NewLogStorage(trees, nil),
		QuotaManager: quota.Noop(),
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	go sequence(ctx, registry)
	// The interceptor gives Rekor the gRPC codes it looks for.
	rpc := grpc.NewServer(grpc.UnaryInterceptor(interceptor.ErrorWrapper))
	trillian.RegisterTrillianAdminServer(rpc, admin.New(registry, nil))
	trillian.RegisterTrillianLogServer(rpc, server.NewTrillianLogRPCServer(registry, clock.System))
	return rpc.Serve(listener)
}

func sequence(ctx context.Context, registry extension.Registry) {
	log.NewOperationManager(log.OperationInfo{
		Registry:    registry,
		BatchSize:   64,
		NumWorkers:  1,
		RunInterval: *interval,
		TimeSource:  clock.System,
	}, log.NewSequencerManager(registry, 0)).OperationLoop(ctx)
}
