// Package s3test gives each test a bucket of its own on a real S3 server.
package s3test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Variables of the environment that tell of an S3 server on which tests may
// make buckets. The region is us-east-1 unless set.
const (
	EndpointVariable        = "GRAF_TEST_S3_ENDPOINT"
	RegionVariable          = "GRAF_TEST_S3_REGION"
	AccessKeyIDVariable     = "GRAF_TEST_S3_ACCESS_KEY_ID"
	SecretAccessKeyVariable = "GRAF_TEST_S3_SECRET_ACCESS_KEY" //nolint:gosec // a name, not a secret
)

// timeout bounds the making and the removal of a bucket.
const timeout = time.Minute

// Bucket is a test's own bucket and how it is reached.
type Bucket struct {
	// Name is the bucket's.
	Name string
	// Endpoint is the server's URL.
	Endpoint        string
	Region          string
	AccessKeyID     string
	SecretAccessKey string
	// Client reaches the server with these keys.
	Client *minio.Client
}

// New makes a bucket, which is removed with what it holds at the test's end.
func New(t testing.TB) *Bucket {
	t.Helper()
	bucket := &Bucket{
		Name:            "test-" + strings.ToLower(rand.Text()),
		Endpoint:        setting(t, EndpointVariable),
		Region:          os.Getenv(RegionVariable),
		AccessKeyID:     setting(t, AccessKeyIDVariable),
		SecretAccessKey: setting(t, SecretAccessKeyVariable),
	}
	if bucket.Region == "" {
		bucket.Region = "us-east-1"
	}
	endpoint, err := url.Parse(bucket.Endpoint)
	if err != nil {
		t.Fatalf("%s: %v", EndpointVariable, err)
	}
	bucket.Client, err = minio.New(endpoint.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(bucket.AccessKeyID, bucket.SecretAccessKey, ""),
		Secure: endpoint.Scheme == "https",
		Region: bucket.Region,
	})
	if err != nil {
		t.Fatalf("%s: %v", EndpointVariable, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := bucket.Client.MakeBucket(ctx, bucket.Name, minio.MakeBucketOptions{Region: bucket.Region}); err != nil {
		t.Fatalf("make the test's bucket: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := bucket.remove(ctx); err != nil {
			t.Errorf("remove the test's bucket: %v", err)
		}
	})
	return bucket
}

// remove empties the bucket and removes it.
func (b *Bucket) remove(ctx context.Context) error {
	for upload := range b.Client.ListIncompleteUploads(ctx, b.Name, "", true) {
		if err := errors.Join(upload.Err, b.Client.RemoveIncompleteUpload(ctx, b.Name, upload.Key)); err != nil {
			return err
		}
	}
	for object := range b.Client.ListObjects(ctx, b.Name, minio.ListObjectsOptions{Recursive: true}) {
		if object.Err != nil {
			return object.Err
		}
		if err := b.Client.RemoveObject(ctx, b.Name, object.Key, minio.RemoveObjectOptions{}); err != nil {
			return err
		}
	}
	return b.Client.RemoveBucket(ctx, b.Name)
}

func setting(t testing.TB, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Fatalf("%s is not set: run make test, or: go run ./local/cmd/graf-local services --ephemeral -- go test ./...", variable)
	}
	return value
}
