// Package local holds what stands in for a cluster on one machine, and nothing
// else: no function knows that it exists. The programs are in cmd.
package local

import _ "embed"

// Compose is the Docker Compose file that runs Postgres with pgvector, Redis
// and an S3 server (services postgres, redis, s3) in place of installed ones.
//
//go:embed compose.yaml
var Compose []byte
