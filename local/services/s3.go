package services

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// defaultRegion is what the S3 servers here call their only region.
const defaultRegion = "us-east-1"

// newS3 prepares a versitygw of its own in folder: an S3 server whose buckets
// are folders.
func newS3(folder, host string, port int, report func(error)) (Server, S3Connection, error) {
	password, err := secret(filepath.Join(folder, passwordFile))
	if err != nil {
		return nil, S3Connection{}, fmt.Errorf("prepare versitygw: %w", err)
	}
	connection := S3Connection{
		Endpoint:        "http://" + address(host, port),
		Region:          defaultRegion,
		AccessKeyID:     grafName,
		SecretAccessKey: password,
	}
	var program string
	buckets := filepath.Join(folder, "data")
	return &process{
		name:         "versitygw",
		folder:       folder,
		address:      address(host, port),
		portVariable: portOfS3,
		stopSignal:   syscall.SIGTERM,
		prepare: func(context.Context) error {
			if program, err = findVersitygw(); err != nil {
				return err
			}
			return makeFolder(buckets)
		},
		command: func() *exec.Cmd {
			//nolint:noctx // it outlives the context of its start; Stop ends it
			cmd := exec.Command(program, "--port", address(host, port), "--region", defaultRegion, "--quiet", "posix", buckets)
			cmd.Env = environment("ROOT_ACCESS_KEY_ID="+grafName, "ROOT_SECRET_ACCESS_KEY="+password)
			cmd.Dir = folder
			return cmd
		},
		probe:  func(ctx context.Context) error { return probeS3(ctx, connection) },
		report: report,
	}, connection, nil
}

// probeS3 asks whether the server answers and takes the keys.
func probeS3(ctx context.Context, connection S3Connection) error {
	endpoint, err := url.Parse(connection.Endpoint)
	if err != nil {
		return fmt.Errorf("the S3 endpoint: %w", err)
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:      credentials.NewStaticV4(connection.AccessKeyID, connection.SecretAccessKey, ""),
		Secure:     endpoint.Scheme == "https",
		Region:     connection.Region,
		MaxRetries: 1,
	})
	if err != nil {
		return fmt.Errorf("the S3 endpoint: %w", err)
	}
	_, err = client.ListBuckets(ctx)
	return err
}
