// Command timestamp-server is Sigstore's timestamping authority without the port for metrics, which the original opens
// on 2112 of every interface and ends where somebody else has it: so that several can run on one machine, and only on
// the address they are given.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/sigstore/timestamp-authority/v2/pkg/log"
	"github.com/sigstore/timestamp-authority/v2/pkg/server"
	"github.com/spf13/viper"
)

// Sigstore's own policy, which the original has as its default.
const policy = "1.3.6.1.4.1.57264.2"

func main() {
	host := flag.String("host", "127.0.0.1", "address to serve HTTP on")
	port := flag.Int("port", 0, "port to serve HTTP on")
	key := flag.String("key", "", "file with the private key, in PEM")
	chain := flag.String("chain", "", "file with the key's certificate and those above it, in PEM")
	flag.Parse()

	log.ConfigureLogger("dev")
	for name, value := range map[string]any{
		"timestamp-signer":         "file",
		"timestamp-signer-hash":    "sha256",
		"file-signer-key-path":     *key,
		"file-signer-passwd":       "",
		"certificate-chain-path":   *chain,
		"enforce-intermediate-eku": true,
		"default-policy-oid":       policy,
		"accepted-policy-oids":     []string{policy},
		"max-request-body-size":    1 << 20,
	} {
		viper.Set(name, value)
	}
	limit := 30 * time.Second
	if err := server.NewRestAPIServer(*host, *port, []string{"http"}, false, limit, limit).Serve(); err != nil {
		fmt.Fprintln(os.Stderr, "timestamp-server:", err)
		os.Exit(1)
	}
}
